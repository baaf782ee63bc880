-- What the outbox has to be read with for those that come back: the time; the time of the oldest publication that counts;
-- up to which number, and of which ids, messages were withdrawn.
local WITHDRAWN = KEYS[FIRST_OWN + 1]

local lost_at, withdrawn_to = unpack(redis.call('HMGET', METERS, 'lost_at', 'withdrawn_to'))
-- What Redis had lost was said again, each front's part by itself: for a while, nothing stands where it stood.
local oldest = math.max(milliseconds() - IDS_AGE, lost_at and lost_at + SETTLING or 0)
return { milliseconds(), oldest, tonumber(withdrawn_to or 0), redis.call('ZRANGE', WITHDRAWN, 0, -1) }
