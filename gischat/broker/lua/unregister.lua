-- Frees the nickname of a connection that has ended, however it ended.
local entry, size, source = unpack(ARGV)

if not ack(entry, size) then return 0 end
local connection = connection_of(source)
remove_wish(connection)
-- A repetition, after Redis lost the first one, publishes the same id, because it derives from the source.
if not release_nickname(source, connection, source) then publish(source, 'done', '', 'leave', '', '') end
return 1
