-- Sets the restrictions as a front knows them, if Redis has lost some: then, of all that fronts know, the newest stands.
-- Behind the first three arguments come the bans, as in ban (id, end, ban), in `of_bans` arguments, and then the keys.
-- Returns whether there was something to set.
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
restrictions_changed()
return 1
