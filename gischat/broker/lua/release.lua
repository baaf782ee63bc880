-- A worker that has not begun with a job gives it back: nobody holds it then. Returns whether it was that worker's.
local entry, worker = unpack(ARGV)

local pending = redis.pcall('XPENDING', INBOX, GROUP, entry, entry, 1)
if pending.err or not pending[1] or pending[1][2] ~= worker then return 0 end
return redis.call('XACK', INBOX, GROUP, entry)
