-- A front's sign of life. Returns whether it was known (if not, Redis has lost what the front had told it), how many
-- publications there are, by which the front sees whether it hears, whether its lease had run out: then counts were told
-- without it; and how many connections and nicknames it has, as Redis knows.
-- `is_forgotten`: the front has noticed that Redis has lost something, and is about to say it again; every front hears that
-- before it. (One that was frozen when it happened cannot see it by the numbers of the publications.)
-- `process`: which process it is, so that the next one on its machine sees that it is gone.
local front, lease, is_forgotten, process = unpack(ARGV)

local known, alive = is_known(front), is_alive(front)
redis.call('ZADD', FRONTS, milliseconds() + lease, front)
redis.call('HSET', PROCESSES, front, process)
if is_forgotten == '1' then
  redis.call('HSET', COUNTERS, 'lost_at', milliseconds())
  publish('', 'control', '', 'state_lost', '', '')
end
local published = tonumber(redis.call('HGET', COUNTERS, 'published') or 0)
local connections = tonumber(redis.call('HGET', COUNTS, front) or 0)
return { known and 1 or 0, published, known and not alive and 1 or 0, connections, #connections_of(front) }
