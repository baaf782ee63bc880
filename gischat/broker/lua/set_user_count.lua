-- Sets the number of a front's connections in the channel, and publishes the sum over all fronts.
local entry, size, source, id, front, connections, count_id = unpack(ARGV)

if not ack(entry, size) then return 0 end
if is_duplicate(id) then
  -- Enqueued twice, because an answer was lost; the front may have set a newer number meanwhile.
  publish(source, 'duplicate', '', 'count', '', '')
  return 1
end
record_id(id)
if is_known(front) then
  if connections == '0' then
    redis.call('HDEL', COUNTS, front)
  else
    redis.call('HSET', COUNTS, front, connections)
  end
end
publish_count(source, count_id)
return 1
