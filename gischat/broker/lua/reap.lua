-- Removes a dead front with its connections, and tells the channel. Returns whether the front was dead and not removed yet.
local front, count_id = unpack(ARGV)

if is_alive(front) or not is_known(front) then return 0 end

redis.call('ZREM', FRONTS, front) -- first, so that none of its own connections is granted its free nicknames
redis.call('HDEL', PROCESSES, front)
redis.call('HDEL', COUNTERS, follows_field(front))
for _, connection in ipairs(redis.call('HKEYS', WISHERS)) do
  if front_of(connection) == front then remove_wish(connection) end
end
local connections = connections_of(front)
for _, connection in ipairs(connections) do
  release_nickname('', connection, 'reaped ' .. connection .. ' ' .. (redis.call('HGET', COUNTERS, 'published') or 0))
  redis.call('SADD', REAPED, connection)
end
-- The front may be alive, if it was frozen or cut off; then the channel is told that its nicknames are back: see restore.
if #connections > 0 then redis.call('EXPIRE', REAPED, REAPED_AGE) end
if redis.call('HDEL', COUNTS, front) == 1 then publish_count('', count_id) end
return 1
