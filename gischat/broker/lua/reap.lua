-- Removes a dead front with its connections, and tells the channel. Returns whether it was there to be removed.
local front, count_id = unpack(ARGV)

if is_alive(front) or not is_known(front) then return 0 end

redis.call('ZREM', FRONTS, front) -- before its nicknames are given away: none of them to one of its own connections
redis.call('HDEL', PROCESSES, front)
for _, connection in ipairs(redis.call('HKEYS', WISHERS)) do
  if front_of(connection) == front then forget_wish(connection) end
end
local connections = connections_of(front)
for _, connection in ipairs(connections) do
  release_nickname('', connection, 'reaped ' .. connection .. ' ' .. (redis.call('HGET', COUNTERS, 'published') or 0))
  redis.call('SADD', REAPED, connection)
end
-- Should the front come back, for it was only frozen or cut off, the channel is told so: see restore.
if #connections > 0 then redis.call('EXPIRE', REAPED, REAPED_AGE) end
if redis.call('HDEL', COUNTS, front) == 1 then publish_count('', count_id) end
return 1
