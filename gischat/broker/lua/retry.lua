-- Moves a dead letter back to the end of its inbox. `source` becomes the job's source; if empty, the job keeps its own.
-- Returns whether there was a dead letter with this entry id.
local place, source = unpack(ARGV)

local letter = redis.call('XRANGE', DEAD, place, place)[1]
if not letter then return 0 end

if source == '' then source = field_of(letter, 'source') end
local kind, id, body = field_of(letter, 'type'), field_of(letter, 'id'), field_of(letter, 'body')
redis.call('XADD', INBOX, '*', 'source', source, 'type', kind, 'id', id, 'body', body, 'client', '', 'sender', '')
redis.call('INCRBY', INBOX_BYTES, #body)
discard(letter)
return 1
