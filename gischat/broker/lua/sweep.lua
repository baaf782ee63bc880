-- Looks for what workers have to do in channels, each as 1 or 0: jobs that a worker has held for longer than `idle`
-- milliseconds; fronts whose lease has expired; anybody's presence; nicknames whose keys differ in size; a damaged key.
-- `of_jobs`: only the first and the last, for workers that do not look after presence.
local idle, of_jobs = unpack(ARGV)

local function flag(condition) return condition and 1 or 0 end

return for_each_channel(function()
  local held = redis.pcall('XPENDING', INBOX, GROUP, 'IDLE', idle, '-', '+', 1) -- an error is for who claims them
  local stale, broken = flag(held.err or #held > 0), redis.call('HEXISTS', COUNTERS, 'broken')
  if of_jobs == '1' then return { stale, 0, 0, 0, broken } end
  local expired = redis.call('ZRANGEBYSCORE', FRONTS, '-inf', milliseconds())
  local users, nicknames = redis.call('HLEN', USERS), redis.call('HLEN', NICKNAMES)
  local wishers, wishes = redis.call('HLEN', WISHERS), redis.call('ZCARD', WISHES)
  local present = users + nicknames + wishers + wishes + redis.call('HLEN', COUNTS)
  return {
    stale,
    flag(#expired > 0),
    flag(present > 0),
    flag(users ~= nicknames or wishers ~= wishes),
    broken,
  }
end)
