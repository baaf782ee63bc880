-- Ends a key before its time. Returns 'changed'; 'unchanged': there is none of this id; 'state_lost': as in
-- grant_key.
local known, id = unpack(ARGV)

if moderation_version() < tonumber(known) then return 'state_lost' end
if redis.call('HDEL', ACCESS_KEYS, id) == 0 then return 'unchanged' end
restrictions_changed()
return 'changed'
