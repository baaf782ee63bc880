-- Moves a failed job to the dead letters, and notifies its sender. The dead letters are bounded in number, bytes and age;
-- the newest always stays.
local entry, size, source, kind, id, body, reason, user_message = unpack(ARGV)

if not ack(entry, size) then return 0 end
redis.call('XADD', DEAD, '*', 'source', source, 'type', kind, 'id', id, 'body', body, 'reason', reason)
redis.call('HINCRBY', COUNTERS, 'dead_bytes', #body)
local horizon = milliseconds() - DEAD_AGE
while redis.call('XLEN', DEAD) > 1 do
  local oldest = redis.call('XRANGE', DEAD, '-', '+', 'COUNT', 1)[1]
  local bytes = tonumber(redis.call('HGET', COUNTERS, 'dead_bytes'))
  local is_young = tonumber(oldest[1]:match('%d+')) >= horizon
  if redis.call('XLEN', DEAD) <= DEAD_LETTERS and bytes <= DEAD_BYTES and is_young then break end
  discard(oldest)
end
-- Corrects the sum, if DEAD was deleted, or COUNTERS restored from an old copy.
if redis.call('XLEN', DEAD) == 1 then redis.call('HSET', COUNTERS, 'dead_bytes', #body) end
publish(source, 'dead_lettered', '', 'uncompliant', '', user_message)
return 1
