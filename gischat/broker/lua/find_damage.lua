-- Returns the channel's keys of a wrong type (see `ChannelKeys.types`). gischat did not write them, and an operator has to
-- remove them. Until then the channel accepts no jobs: see enqueue.
local damaged = {}
for index, key in ipairs(KEYS) do
  local type = redis.call('TYPE', key).ok
  if type ~= 'none' and type ~= ARGV[index] then table.insert(damaged, key) end
end
if #damaged == 0 then
  redis.call('HDEL', COUNTERS, 'broken')
else
  redis.pcall('HSET', COUNTERS, 'broken', 1) -- fails if COUNTERS is damaged; then enqueue fails, too
end
return damaged
