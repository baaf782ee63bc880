-- Renews a front's lease. Returns whether Redis knows the front (if not, it has lost the front's state); the offset of the
-- newest publication, by which the front detects lag; whether the lease had expired, so that user counts did not include
-- the front; and the number of the front's connections and nicknames in Redis.
-- `is_state_lost`: the front has detected a loss, and is about to send its state again; all other fronts are told before
-- that, because a front that was frozen during the loss cannot detect it by offsets.
-- `process`: the front's process identity, by which the next process on its machine detects that it has ended.
local front, lease, is_state_lost, process = unpack(ARGV)

local known, alive = is_known(front), is_alive(front)
redis.call('ZADD', FRONTS, milliseconds() + lease, front)
redis.call('HSET', PROCESSES, front, process)
if is_state_lost == '1' then
  redis.call('HSET', COUNTERS, 'lost_at', milliseconds())
  publish('', 'control', '', 'state_lost', '', '')
end
local published = tonumber(redis.call('HGET', COUNTERS, 'published') or 0)
local connections = tonumber(redis.call('HGET', COUNTS, front) or 0)
return { known and 1 or 0, published, known and not alive and 1 or 0, connections, #connections_of(front) }
