-- Returns what fronts need to know to replay the outbox to clients that reconnect: the time; the time of the oldest
-- publication that may be replayed; the offset up to which all messages were deleted; the ids of other deleted messages.
local DELETED = KEYS[FIRST_OWN + 1]

local lost_at, deleted_to = unpack(redis.call('HMGET', COUNTERS, 'lost_at', 'deleted_to'))
-- After a loss each front replays its own messages, so that their order differs from what clients have seen.
local oldest = math.max(milliseconds() - IDS_AGE, lost_at and lost_at + SETTLING or 0)
return { milliseconds(), oldest, tonumber(deleted_to or 0), redis.call('ZRANGE', DELETED, 0, -1) }
