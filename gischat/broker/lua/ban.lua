-- Adds a ban, or replaces one of the same id. Returns 'changed'; 'unchanged': there are too many; 'state_lost': Redis has
-- lost changes that the front knows, which it has to restore first.
local known, id, ends, ban = unpack(ARGV)

if moderation_version() < tonumber(known) then return 'state_lost' end
if #unexpired(BANS) >= BANS_NUMBER and redis.call('HEXISTS', BANS, id) == 0 then return 'unchanged' end
put(BANS, id, tonumber(ends), ban)
moderation_changed()
return 'changed'
