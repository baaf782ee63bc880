-- Returns the keys of a wrong type (see `ChannelKeys.types`) of many channels, by channel. gischat did not write them, and
-- an operator has to remove them. Until then the channel accepts no jobs: see enqueue. ARGV: the types of a channel's keys.
local found = {}
for first = 0, #KEYS - 1, #ARGV do
  local damaged = {}
  for index, right in ipairs(ARGV) do
    local type = redis.call('TYPE', KEYS[first + index]).ok
    if type ~= 'none' and type ~= right then table.insert(damaged, KEYS[first + index]) end
  end
  COUNTERS = KEYS[first + 4]
  if #damaged == 0 then
    redis.call('HDEL', COUNTERS, 'broken')
  else
    redis.pcall('HSET', COUNTERS, 'broken', 1) -- fails if COUNTERS is damaged; then enqueue fails, too
  end
  table.insert(found, damaged)
end
return found
