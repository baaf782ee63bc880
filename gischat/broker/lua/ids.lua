-- Stands before the scripts that publish what clients say, behind the prelude: whose an id is.

-- A UUID that is made of a name: the same name gives the same one (as version 5 of RFC 9562 does).
local function uuid(name)
  local hex = redis.sha1hex(name)
  return table.concat({ hex:sub(1, 8), hex:sub(9, 12), '5' .. hex:sub(14, 16), 'a' .. hex:sub(18, 20), hex:sub(21, 32) },
    '-')
end

-- A UUID that nobody has seen before: the channel's publications are counted.
local function unique_uuid(name)
  return uuid(name .. ' ' .. (redis.call('HGET', COUNTERS, 'published') or 0))
end

-- A message id is its sender's. Whoever else uses it loses nothing by that: his message gets another id.
--
-- SENDERS holds for an id "digest place sender nickname": what it was used for (all but the time at which it was sent),
-- where in the outbox that is, the connection (or what stands for it, see `Job.sender`) and the key of the nickname that this
-- had, if it had one.

-- What becomes of a message that its sender has given an id, and its id then:
--
--   'new'       nobody has used the id, or only others have, and then it has another
--   'duplicate'  it has been published already
--   'used'      the sender has used it for something else
local function judge(source, sender, id, digest)
  if not is_duplicate(id) then return 'new', id end
  local was, who, nickname = (redis.call('HGET', SENDERS, id) or ''):match('^(%S+) %S+ (%S+) ?(%S*)$')
  if was == digest then return 'duplicate', id end
  local connection = connection_of(source)
  local mine = sender ~= '' and sender or connection
  if who == mine or nickname and nickname ~= '' and nickname == nickname_of(connection) then
    return 'used', id
  end
  local other = uuid(mine .. ' ' .. id .. ' ' .. digest)
  if not published_at(other) then return 'new', other end
  was, who = (redis.call('HGET', SENDERS, other) or ''):match('^(%S+) %S+ (%S+)')
  if was == digest and who == mine then return 'duplicate', other end
  return 'new', unique_uuid(other) -- somebody has guessed it
end

-- Notes whose an id is, once it is published.
local function note_sender(source, sender, id, digest, place)
  if id == '' then return end
  local connection = connection_of(source)
  local who = sender ~= '' and sender or connection
  redis.call('HSET', SENDERS, id, table.concat({ digest, place, who, (nickname_of(connection)) }, ' '))
end

-- The message with `key` set to another text; as it is where it does not say `before`. Neither holds what JSON escapes.
local function with_text(body, key, before, text)
  if before == text then return body end
  local head = '"' .. key .. '":"'
  local first, last = body:find(head .. before .. '"', 1, true)
  return first and body:sub(1, first - 1) .. head .. text .. body:sub(last) or body
end

-- The message as it is published under another id than its sender's.
local function under_id(body, id, other)
  return with_text(body, 'id', id, other)
end

-- What was published under an id; nil where it is retained no longer.
local function published_body(id)
  local place = (redis.call('HGET', SENDERS, id) or ''):match('^%S+ (%S+)')
  local entry = place and redis.call('XRANGE', OUTBOX, place, place)[1]
  if entry then return field_of(entry, 'body') end
  for _, body in ipairs(redis.call('LRANGE', HISTORY, 0, -1)) do
    if id_of(body) == id then return body end
  end
end
