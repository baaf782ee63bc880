-- Releases a job that its worker has not started: no worker holds it then. Returns whether that worker held it.
local entry, worker = unpack(ARGV)

local pending = redis.pcall('XPENDING', INBOX, GROUP, entry, entry, 1)
if pending.err or not pending[1] or pending[1][2] ~= worker then return 0 end
return redis.call('XACK', INBOX, GROUP, entry)
