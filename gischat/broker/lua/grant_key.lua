-- A key that opens the channel. Returns 'changed'; 'unchanged': there are too many; 'state_lost': Redis has lost some of
-- what the front knows of, which has to be restored first.
local known, id, ends, key = unpack(ARGV)

if moderation_version() < tonumber(known) then return 'state_lost' end
if #that_hold(ACCESS_KEYS) >= ACCESS_KEYS_NUMBER then return 'unchanged' end
put(ACCESS_KEYS, id, tonumber(ends), key)
restrictions_changed()
return 'changed'
