-- Gives a job that no worker holds to one of them. Returns the job's fields; 'claimed' if another worker holds it, 'ended'
-- if it has ended or Redis has lost it. A repeated call, after a lost answer, returns the fields again.
local entry, worker = unpack(ARGV)

local found = redis.call('XRANGE', INBOX, entry, entry)[1]
if not found then return 'ended' end
local pending = redis.pcall('XPENDING', INBOX, GROUP, entry, entry, 1)
if pending.err then return pending end -- there is no group; the worker creates it
if pending[1] then
  if pending[1][2] ~= worker then return 'claimed' end
else
  redis.call('XCLAIM', INBOX, GROUP, worker, 0, entry, 'RETRYCOUNT', 1, 'FORCE', 'JUSTID')
end
return found[2]
