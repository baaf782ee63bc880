-- Where a front begins that has heard nothing yet: the newest publication, the ids of the messages published lately, each
-- with the milliseconds at which that was, the time, the stored messages, and when Redis is known to have lost something.
local number = tonumber(ARGV[1])

local newest = redis.call('XREVRANGE', OUTBOX, '+', '-', 'COUNT', 1)[1]
local ids = redis.call('ZRANGE', IDS, -number, -1, 'WITHSCORES')
return { newest or false, ids, milliseconds(), history(), redis.call('HGET', COUNTERS, 'lost_at') or 0 }
