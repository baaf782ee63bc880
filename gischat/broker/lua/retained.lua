-- What the outbox has to be read with for those that come back: the time; the time of the oldest publication that counts;
-- up to which number, and of which ids, messages were withdrawn.
local DELETED = KEYS[FIRST_OWN + 1]

local lost_at, deleted_to = unpack(redis.call('HMGET', COUNTERS, 'lost_at', 'deleted_to'))
-- What Redis had lost was said again, each front's part by itself: for a while, nothing stands where it stood.
local oldest = math.max(milliseconds() - IDS_AGE, lost_at and lost_at + SETTLING or 0)
return { milliseconds(), oldest, tonumber(deleted_to or 0), redis.call('ZRANGE', DELETED, 0, -1) }
