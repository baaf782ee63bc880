-- A connection has ended, however it did.
local entry, size, source, id = unpack(ARGV)

if not take(entry, size) then return 0 end
local connection = connection_of(source)
forget_wish(connection)
-- Said again, for Redis has lost it, it comes from another source (its number has grown); by the job's id it tells once.
if not give_up(source, connection, id ~= '' and id or source) then publish(source, 'done', '', 'leave', '', '') end
return 1
