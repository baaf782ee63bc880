-- Where a front begins that has heard nothing yet: the newest publication, the ids of the messages published lately, each
-- with the milliseconds at which that was, and the time; when Redis had last lost something, 0 where that is not known.
local number = tonumber(ARGV[1])

local newest = redis.call('XREVRANGE', OUTBOX, '+', '-', 'COUNT', 1)[1]
local ids = redis.call('ZRANGE', IDS, -number, -1, 'WITHSCORES')
return { newest or false, ids, milliseconds(), tonumber(redis.call('HGET', METERS, 'lost_at') or 0) }
