-- A ban, in place of an earlier one of the same id. Returns 'changed'; 'unchanged': there are too many; 'state_lost': Redis has
-- lost restrictions that the front knows of, which have to be restored first.
local known, id, ends, ban = unpack(ARGV)

if moderation_version() < tonumber(known) then return 'state_lost' end
if #that_hold(BANS) >= BANS_NUMBER and redis.call('HEXISTS', BANS, id) == 0 then return 'unchanged' end
put(BANS, id, tonumber(ends), ban)
restrictions_changed()
return 'changed'
