-- Restores the moderation state that a front knows, if Redis has an older version: of all fronts' versions, the newest wins.
-- After the first three arguments follow the bans (id, end, ban: as in ban), `of_bans` arguments in all, then the keys.
-- Returns whether Redis had lost something.
local version, freeze, of_bans = ARGV[1], ARGV[2], ARGV[3]

if moderation_version() >= tonumber(version) then return 0 end
redis.call('DEL', BANS, ACCESS_KEYS)
local now = milliseconds()
for index = 4, #ARGV, 3 do
  local hash = index < 4 + of_bans and BANS or ACCESS_KEYS
  if tonumber(ARGV[index + 1]) > now then put(hash, ARGV[index], tonumber(ARGV[index + 1]), ARGV[index + 2]) end
end
if freeze == '' then
  redis.call('HDEL', COUNTERS, 'frozen')
else
  redis.call('HSET', COUNTERS, 'frozen', freeze)
end
redis.call('HSET', COUNTERS, 'moderation', version - 1)
moderation_changed()
return 1
