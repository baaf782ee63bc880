-- A connection has ended, however it did.
local entry, size, source, address, exiter_head = unpack(ARGV)

if not take(entry, size) then return 0 end
if not give_up(source, address, exiter_head) then publish(source, 'done', '', 'leave', '', '') end
return 1
