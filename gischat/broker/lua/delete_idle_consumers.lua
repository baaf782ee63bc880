-- Removes the consumers of workers that are long gone: each worker that is started without a name leaves one behind.
-- One that holds jobs stays, for they would be lost with it. Returns how many were removed.
local idle = tonumber(ARGV[1])

local consumers = redis.pcall('XINFO', 'CONSUMERS', INBOX, GROUP)
if consumers.err then return 0 end -- there is no group: whoever reads next makes it

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
