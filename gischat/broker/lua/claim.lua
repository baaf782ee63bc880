-- Gives a job that no worker holds to one of them. Returns its fields; 'claimed' when another worker holds it, 'ended' when
-- it has ended or Redis has lost it. Who asks again, for the answer was lost, gets it again.
local entry, worker = unpack(ARGV)

local found = redis.call('XRANGE', INBOX, entry, entry)[1]
if not found then return 'ended' end
local pending = redis.pcall('XPENDING', INBOX, GROUP, entry, entry, 1)
if pending.err then return pending end -- there is no group, and the worker makes it
if pending[1] then
  if pending[1][2] ~= worker then return 'claimed' end
else
  redis.call('XCLAIM', INBOX, GROUP, worker, 0, entry, 'RETRYCOUNT', 1, 'FORCE', 'JUSTID')
end
return found[2]
