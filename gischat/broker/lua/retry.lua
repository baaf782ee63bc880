-- A dead letter goes back into its inbox, at the end. Returns whether there was one of this place. What has an
-- author was his when he sent it; his connection may have gone since, and his nickname to somebody else.
local letter = redis.call('XRANGE', DEAD, ARGV[1], ARGV[1])[1]
if not letter then return 0 end

local _, source, _, kind, _, id, _, body = unpack(letter[2])
if author_of(body) then source = OPERATOR end
redis.call('XADD', INBOX, '*', 'source', source, 'type', kind, 'id', id, 'body', body, 'client', '', 'sender', '')
redis.call('INCRBY', INBOX_BYTES, #body)
discard(letter)
return 1
