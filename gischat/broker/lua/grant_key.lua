-- A key that opens the channel. Returns 1; 0: there are too many; -1: Redis has lost some of what the front knows of, which
-- has to be restored first.
local known, id, ends, key = unpack(ARGV)

if moderation_version() < tonumber(known) then return -1 end
if #that_hold(ACCESS_KEYS) >= ACCESS_KEYS_NUMBER then return 0 end
put(ACCESS_KEYS, id, tonumber(ends), key)
restrictions_changed()
return 1
