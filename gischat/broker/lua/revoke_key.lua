-- Ends a key before its time. Returns 1; 0: there is none of this id; -1: as in grant_key.
local known, id = unpack(ARGV)

if moderation_version() < tonumber(known) then return -1 end
if redis.call('HDEL', ACCESS_KEYS, id) == 0 then return 0 end
restrictions_changed()
return 1
