-- The channel's keys that hold something of another type than they should (see `ChannelKeys.types`): whoever wrote that was
-- none of us, and an operator has to see to it. Until then nothing new is taken: see enqueue.
local damaged = {}
for index, key in ipairs(KEYS) do
  local type = redis.call('TYPE', key).ok
  if type ~= 'none' and type ~= ARGV[index] then table.insert(damaged, key) end
end
if #damaged == 0 then
  redis.call('HDEL', COUNTERS, 'broken')
else
  redis.pcall('HSET', COUNTERS, 'broken', 1) -- it may be the damaged one, and then nothing is taken either
end
return damaged
