-- A front's job into the inbox. Returns 1 when it was taken, 0 when the inbox is full, -1 when Redis has lost what the
-- front has said or heard before: that has to be said again first, for the order to hold.
local front, heard, source, kind, id, body = unpack(ARGV)

local published = tonumber(redis.call('HGET', METERS, 'published') or 0)
if published < tonumber(heard) or not redis.call('ZSCORE', FRONTS, front) then return -1 end
local waiting = redis.call('XLEN', INBOX)
local bytes = tonumber(redis.call('GET', INBOX_BYTES) or 0)
if waiting >= INBOX_MESSAGES or (waiting > 0 and bytes + #body > INBOX_MAX_BYTES) then return 0 end

redis.call('XADD', INBOX, '*', 'source', source, 'type', kind, 'id', id, 'body', body)
redis.call('INCRBY', INBOX_BYTES, #body)
return 1
