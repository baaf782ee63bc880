-- Deletes the messages with the given ids, or all. They are removed from the history, not replayed to clients that
-- reconnect, and published to every front, because fronts replay what Redis loses. Their outbox entries stay: a lagging
-- front would detect a gap. `again`: a front repeats a deletion that Redis may have lost. Returns the number of messages.
local again = ARGV[1] == '1'
local is_wanted, found = {}, {}
for index = 2, #ARGV do is_wanted[ARGV[index]] = true end
local is_all = #ARGV == 1

for _, body in ipairs(redis.call('LRANGE', HISTORY, 0, -1)) do
  local id = id_of(body)
  if is_all or is_wanted[id] then
    redis.call('LREM', HISTORY, 1, body)
    redis.call('HINCRBY', COUNTERS, 'history_bytes', -release_stored(body))
    if id then -- anybody may have written into the history
      is_wanted[id] = nil
      table.insert(found, id)
    end
  end
end
for id in pairs(is_wanted) do
  -- It may not be stored, or not any more, but could still be replayed to clients that reconnect.
  if not again and is_duplicate(id) and not redis.call('ZSCORE', DELETED, id) then table.insert(found, id) end
end
if #found == 0 and not is_all then return 0 end

if is_all then
  redis.call('DEL', PLACES)
  redis.call('HDEL', COUNTERS, 'places')
  redis.call('HSET', COUNTERS, 'deleted_to', redis.call('HGET', COUNTERS, 'published') or 0)
else
  local at = milliseconds()
  for _, id in ipairs(found) do redis.call('ZADD', DELETED, at, id) end
  -- Clients cannot ask for what followed an older message.
  redis.call('ZREMRANGEBYSCORE', DELETED, '-inf', at - IDS_AGE)
  redis.call('ZREMRANGEBYRANK', DELETED, 0, -IDS_NUMBER - 1)
  redis.call('PEXPIRE', DELETED, IDS_AGE)
end
-- JSON escapes no character of an id.
local ids = #found > 0 and '["' .. table.concat(found, '","') .. '"]' or '[]'
control('deleted', '{"all":' .. tostring(is_all) .. ',"ids":' .. ids .. '}')
return #found
