-- For scripts that publish clients' messages, after the prelude: message ids and their senders.

-- A UUID derived from a name: the same name gives the same UUID (like version 5 of RFC 9562).
local function uuid(name)
  local hex = redis.sha1hex(name)
  return table.concat({ hex:sub(1, 8), hex:sub(9, 12), '5' .. hex:sub(14, 16), 'a' .. hex:sub(18, 20), hex:sub(21, 32) },
    '-')
end

-- A UUID that was never used before, because it contains the offset of the channel's newest publication.
local function unique_uuid(name)
  return uuid(name .. ' ' .. (redis.call('HGET', COUNTERS, 'published') or 0))
end

-- A message id belongs to its first sender. Another sender's message with this id is published under another id.
--
-- SENDERS contains for each id "digest entry_id sender nickname": the digest of the message (without its timestamp), its
-- entry in the outbox, the connection (or its substitute, see `Job.sender`) and, if it had one, the key of its nickname.

-- Decides on a message and its id:
--
--   'new'        publish it; the returned id differs if another sender has used the message's
--   'duplicate'  it was published before
--   'used'       its sender has used the id for another message
local function judge(source, sender, id, digest)
  if not is_duplicate(id) then return 'new', id end
  local was, owner, nickname = (redis.call('HGET', SENDERS, id) or ''):match('^(%S+) %S+ (%S+) ?(%S*)$')
  if was == digest then return 'duplicate', id end
  local connection = connection_of(source)
  local identity = sender ~= '' and sender or connection
  if owner == identity or nickname and nickname ~= '' and nickname == nickname_of(connection) then
    return 'used', id
  end
  local other = uuid(identity .. ' ' .. id .. ' ' .. digest)
  if not published_at(other) then return 'new', other end
  was, owner = (redis.call('HGET', SENDERS, other) or ''):match('^(%S+) %S+ (%S+)')
  if was == digest and owner == identity then return 'duplicate', other end
  return 'new', unique_uuid(other) -- another sender has guessed the derived id
end

-- Records the sender of a published id.
local function note_sender(source, sender, id, digest, place)
  if id == '' then return end
  local connection = connection_of(source)
  local owner = sender ~= '' and sender or connection
  redis.call('HSET', SENDERS, id, table.concat({ digest, place, owner, (nickname_of(connection)) }, ' '))
end

-- Replaces the text of `key`, if it is `before`, in a message. JSON escapes no character of either text.
local function with_text(body, key, before, text)
  if before == text then return body end
  local head = '"' .. key .. '":"'
  local first, last = body:find(head .. before .. '"', 1, true)
  return first and body:sub(1, first - 1) .. head .. text .. body:sub(last) or body
end

-- The message with another id than its sender's.
local function under_id(body, id, other)
  return with_text(body, 'id', id, other)
end

-- The message published under an id; nil if it is not retained any more.
local function published_body(id)
  local place = (redis.call('HGET', SENDERS, id) or ''):match('^%S+ (%S+)')
  local entry = place and redis.call('XRANGE', OUTBOX, place, place)[1]
  if entry then return field_of(entry, 'body') end
  for _, body in ipairs(redis.call('LRANGE', HISTORY, 0, -1)) do
    if id_of(body) == id then return body end
  end
end
