-- A front's sign of life. Returns whether it was known (if not, Redis has lost what the front had told it), and how many
-- publications there are, by which the front sees whether it hears. `is_forgotten`: the front has noticed that Redis has
-- lost something, and is about to say it again.
local front, lease, is_forgotten = unpack(ARGV)

local known = redis.call('ZSCORE', FRONTS, front)
redis.call('ZADD', FRONTS, milliseconds() + lease, front)
if is_forgotten == '1' then redis.call('HSET', METERS, 'lost_at', milliseconds()) end
return { known and 1 or 0, tonumber(redis.call('HGET', METERS, 'published') or 0) }
