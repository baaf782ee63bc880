-- What waits in an inbox: jobs, bytes, the milliseconds since the oldest came; and the channel's dead letters.

-- Jobs that a worker holds came before those that nobody has; to ask for them moves no picture.
local function oldest()
  local pending = redis.pcall('XPENDING', INBOX, GROUP)
  if not pending.err and pending[2] then return pending[2] end
  local first = redis.call('XRANGE', INBOX, '-', '+', 'COUNT', 1)[1]
  return first and first[1]
end

local entry = oldest()
local age = entry and math.max(milliseconds() - tonumber(entry:match('%d+')), 0) or 0
return {redis.call('XLEN', INBOX), tonumber(redis.call('GET', INBOX_BYTES) or 0), age, redis.call('XLEN', DEAD)}
