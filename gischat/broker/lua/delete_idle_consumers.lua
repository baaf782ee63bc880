-- Deletes consumers of workers that ended long ago: each worker started without a name leaves one behind. A consumer with
-- jobs stays, because its jobs would be lost with it. Returns the number of deleted ones.
local idle = tonumber(ARGV[1])

local consumers = redis.pcall('XINFO', 'CONSUMERS', INBOX, GROUP)
if consumers.err then return 0 end -- there is no group; the next reader creates it

local removed = 0
for _, consumer in ipairs(consumers) do
  local about = {}
  for index = 1, #consumer, 2 do about[consumer[index]] = consumer[index + 1] end
  if about.pending == 0 and about.idle >= idle then
    redis.call('XGROUP', 'DELCONSUMER', INBOX, GROUP, about.name)
    removed = removed + 1
  end
end
return removed
