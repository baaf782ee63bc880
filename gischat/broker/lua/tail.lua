-- Returns the state from which a new front starts: the newest publication; the recently published ids, each with its time
-- in milliseconds; the current time; the stored messages; the time of the last known loss in Redis (0: none).
local number = tonumber(ARGV[1])

local newest = redis.call('XREVRANGE', OUTBOX, '+', '-', 'COUNT', 1)[1]
local ids = redis.call('ZRANGE', IDS, -number, -1, 'WITHSCORES')
return { newest or false, ids, milliseconds(), history(), redis.call('HGET', COUNTERS, 'lost_at') or 0 }
