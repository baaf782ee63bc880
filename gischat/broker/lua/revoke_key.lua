-- Revokes a key before its end. Returns 'changed'; 'unchanged': there is none of this id; 'state_lost': as in ban.
local known, id = unpack(ARGV)

if moderation_version() < tonumber(known) then return 'state_lost' end
if redis.call('HDEL', ACCESS_KEYS, id) == 0 then return 'unchanged' end
moderation_changed()
return 'changed'
