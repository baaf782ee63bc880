-- Freezes the channel, or thaws it where `freeze` is empty. Returns 1; 0: it was so before; -1: as in ban.
local known, freeze = unpack(ARGV)

if moderation_version() < tonumber(known) then return -1 end
if (freeze ~= '') == (redis.call('HEXISTS', COUNTERS, 'frozen') == 1) then return 0 end
if freeze == '' then
  redis.call('HDEL', COUNTERS, 'frozen')
else
  redis.call('HSET', COUNTERS, 'frozen', freeze)
end
restrictions_changed()
return 1
