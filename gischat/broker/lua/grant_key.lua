-- Adds a key that opens the channel. Returns 'changed'; 'unchanged': there are too many; 'state_lost': as in ban.
local known, id, ends, key = unpack(ARGV)

if moderation_version() < tonumber(known) then return 'state_lost' end
if #unexpired(ACCESS_KEYS) >= ACCESS_KEYS_NUMBER then return 'unchanged' end
put(ACCESS_KEYS, id, tonumber(ends), key)
moderation_changed()
return 'changed'
