-- A ban, in place of an earlier one of the same id. Returns 1; 0: there are too many; -1: Redis has lost restrictions that
-- the front knows of, which have to be restored first.
local known, id, ends, ban = unpack(ARGV)

if moderation_version() < tonumber(known) then return -1 end
if #that_hold(BANS) >= BANS_NUMBER and redis.call('HEXISTS', BANS, id) == 0 then return 0 end
put(BANS, id, tonumber(ends), ban)
restrictions_changed()
return 1
