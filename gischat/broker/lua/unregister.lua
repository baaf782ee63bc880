-- A connection has ended, however it did.
local entry, size, source = unpack(ARGV)

if not ack(entry, size) then return 0 end
local connection = connection_of(source)
forget_wish(connection)
-- Done twice, for Redis forgot the first time, it tells it once: the same source gives the same id.
if not release_nickname(source, connection, source) then publish(source, 'done', '', 'leave', '', '') end
return 1
