-- Freezes the channel, or thaws it if `freeze` is empty. Returns 'changed'; 'unchanged': that was its state before;
-- 'state_lost': as in ban.
local known, freeze = unpack(ARGV)

if moderation_version() < tonumber(known) then return 'state_lost' end
if (freeze ~= '') == (redis.call('HEXISTS', COUNTERS, 'frozen') == 1) then return 'unchanged' end
if freeze == '' then
  redis.call('HDEL', COUNTERS, 'frozen')
else
  redis.call('HSET', COUNTERS, 'frozen', freeze)
end
moderation_changed()
return 'changed'
