-- A front's job into the inbox, unless that is full. Returns whether it was taken.
local source, kind, id, body = unpack(ARGV)

local waiting = redis.call('XLEN', INBOX)
local bytes = tonumber(redis.call('GET', INBOX_BYTES) or 0)
if waiting >= INBOX_MESSAGES or (waiting > 0 and bytes + #body > INBOX_MAX_BYTES) then return 0 end

redis.call('XADD', INBOX, '*', 'source', source, 'type', kind, 'id', id, 'body', body)
redis.call('INCRBY', INBOX_BYTES, #body)
return 1
