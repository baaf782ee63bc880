-- Returns an inbox's backlog: jobs, bytes, milliseconds since the oldest job was enqueued; the channel's dead letters; and
-- the milliseconds since any worker last took a job of this inbox or renewed a claim, nil if none ever did.

-- Held by a worker or not: jobs that have ended are not in the stream any more.
local oldest = redis.call('XRANGE', INBOX, '-', '+', 'COUNT', 1)[1]
local age = oldest and math.max(milliseconds() - tonumber(oldest[1]:match('%d+')), 0) or 0
local idle = false
local consumers = redis.pcall('XINFO', 'CONSUMERS', INBOX, GROUP) -- an error if there is no group
for _, consumer in ipairs(consumers.err and {} or consumers) do
  for index = 1, #consumer, 2 do
    local value = consumer[index + 1]
    if consumer[index] == 'idle' and (not idle or value < idle) then idle = value end
  end
end
return {redis.call('XLEN', INBOX), tonumber(redis.call('GET', INBOX_BYTES) or 0), age, redis.call('XLEN', DEAD), idle}
