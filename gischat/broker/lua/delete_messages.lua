-- Takes messages back: those of the given ids, or all. They leave the history, nobody who comes back is told them, and
-- every front hears of it, for it may say again what Redis loses. Outbox entries stay where they are: a front that lags
-- would miss their numbers. `again`: a front says again what Redis may have lost. Returns how many were found.
local again = ARGV[1] == '1'
local is_wanted, found = {}, {}
for index = 2, #ARGV do is_wanted[ARGV[index]] = true end
local is_all = #ARGV == 1

for _, body in ipairs(redis.call('LRANGE', HISTORY, 0, -1)) do
  local id = id_of(body)
  if is_all or is_wanted[id] then
    redis.call('LREM', HISTORY, 1, body)
    redis.call('HINCRBY', COUNTERS, 'history_bytes', -forget_message(body))
    is_wanted[id] = nil
    table.insert(found, id)
  end
end
for id in pairs(is_wanted) do
  -- It may not be stored, or not any more, and yet be told to who comes back.
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
  -- Nobody can ask for what came after a message that is older than this.
  redis.call('ZREMRANGEBYSCORE', DELETED, '-inf', at - IDS_AGE)
  redis.call('ZREMRANGEBYRANK', DELETED, 0, -IDS_NUMBER - 1)
  redis.call('PEXPIRE', DELETED, IDS_AGE)
end
-- Ids hold nothing that JSON escapes.
local ids = #found > 0 and '["' .. table.concat(found, '","') .. '"]' or '[]'
control('deleted', '{"all":' .. tostring(is_all) .. ',"ids":' .. ids .. '}')
return #found
