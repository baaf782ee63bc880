-- Sets the restrictions as a front knows them, if Redis has lost some: then, of all that fronts know, the newest stands.
-- The bans follow as in ban: id, end, ban. Returns whether there was something to set.
local version, freeze = ARGV[1], ARGV[2]

if moderation_version() >= tonumber(version) then return 0 end
redis.call('DEL', BANS)
local now = milliseconds()
for index = 3, #ARGV, 3 do
  if tonumber(ARGV[index + 1]) > now then put_ban(ARGV[index], tonumber(ARGV[index + 1]), ARGV[index + 2]) end
end
if freeze == '' then
  redis.call('HDEL', COUNTERS, 'frozen')
else
  redis.call('HSET', COUNTERS, 'frozen', freeze)
end
redis.call('HSET', COUNTERS, 'moderation', version - 1)
restrictions_changed()
return 1
