-- A front's sign of life. Returns whether it was known (if not, Redis has lost what the front had told it), and how many
-- publications there are, by which the front sees whether it hears.
local front, lease = unpack(ARGV)

local known = redis.call('ZSCORE', FRONTS, front)
redis.call('ZADD', FRONTS, milliseconds() + lease, front)
return { known and 1 or 0, tonumber(redis.call('HGET', METERS, 'published') or 0) }
