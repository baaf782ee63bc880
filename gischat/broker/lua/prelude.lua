-- For every script, after the limits (constants made from the settings). Functions that a script does not use are left
-- out of it, here and in the other shared files.
-- Scripts run on Redis >= 6.2, which replicates their effects, so they may call TIME.
-- Two scripts run for every message, and a command's main cost in a script is its call: scripts skip commands that an
-- earlier answer has made unnecessary.

local INBOX, OUTBOX, OUTBOX_SIZES, COUNTERS, INBOX_BYTES, HISTORY, IDS, FRONTS, COUNTS, USERS, NICKNAMES, DEAD, REAPED,
  SENDERS, PLACES = unpack(KEYS)

-- After these keys follow those that only some scripts get and then, if a job's body is in chunks, the keys of its chunks.
local FIRST_OWN = 16
local FIRST_CHUNK = FIRST_OWN + OWN_KEYS
local chunks = #KEYS + 1 - FIRST_CHUNK

local function delete_chunks()
  if chunks > 0 then redis.call('DEL', unpack(KEYS, FIRST_CHUNK)) end
end

-- A field of a stream entry.
local function field_of(entry, name)
  for index = 1, #entry[2], 2 do
    if entry[2][index] == name then return entry[2][index + 1] end
  end
end

-- The field of COUNTERS that contains the bytes of a client in the heavy lane.
local function heavy_bytes_field(client)
  return 'heavy_bytes:' .. client
end

-- Subtracts a job from the inbox's bytes, which would be below zero if the key was lost while jobs were waiting.
local function release_bytes(size)
  if redis.call('DECRBY', INBOX_BYTES, size) < 0 then redis.call('DEL', INBOX_BYTES) end
end

-- Subtracts a job from its client's bytes; the job is still in the inbox, without its body.
local function release_heavy_bytes(entry, size)
  local found = redis.call('XRANGE', INBOX, entry, entry)[1]
  if not found then return end
  local share = heavy_bytes_field(field_of(found, 'client') or '')
  if redis.call('HINCRBY', COUNTERS, share, -size) <= 0 then redis.call('HDEL', COUNTERS, share) end
end

-- A large body is in chunks; outbox and history have a reference to it: see `gischat.broker.bodies`. Returns the name, the
-- number and the bytes of the chunks; nothing for one that nobody of ours has written, whose numbers may have no end.
local function chunks_of(body)
  if body:byte() ~= 64 then return end -- @
  local name, count, bytes = body:match('^@(%S+) (%d+) (%d+) ')
  if name and #count <= 4 and #bytes <= 9 then return name, count, bytes end
end

-- The size of a body, wherever it is.
local function size_of(body)
  local _, _, bytes = chunks_of(body)
  return bytes and #body + bytes or #body
end

-- Their key's name begins with the outbox's, which is in the same slot.
local function chunk_key(name, index)
  return OUTBOX:sub(1, -#'outbox' - 1) .. 'body:' .. name .. ':' .. index
end

-- The expiry of a body's chunks says who has references to it. None: history and outbox. In years: the history alone.
-- Otherwise the outbox alone, or nobody (yet). Whichever lets go last deletes them.
local YEAR = 365 * 24 * 3600 * 1000

local function expire_chunks(name, count, age)
  for index = 0, count - 1 do redis.call('PEXPIRE', chunk_key(name, index), age) end
end

local function delete_body(name, count)
  for index = 0, count - 1 do redis.call('DEL', chunk_key(name, index)) end
end

-- The outbox gets a publication with these chunks.
local function retain_for_outbox(name, count)
  local expires = redis.call('PTTL', chunk_key(name, 0))
  if expires >= 0 and expires < OUTBOX_AGE then expire_chunks(name, count, OUTBOX_AGE) end
end

-- The history gets a message that the outbox has.
local function retain_for_history(body)
  local name, count = chunks_of(body)
  for index = 0, (count or 0) - 1 do redis.call('PERSIST', chunk_key(name, index)) end
end

-- The history removes a message.
local function release_from_history(body)
  local name, count = chunks_of(body)
  if not name then return end
  local expires = redis.call('PTTL', chunk_key(name, 0))
  if expires == -1 then expire_chunks(name, count, OUTBOX_AGE) elseif expires > YEAR then delete_body(name, count) end
end

-- The outbox removes a publication with these chunks.
local function release_from_outbox(name, count)
  local expires = redis.call('PTTL', chunk_key(name, 0))
  if expires == -1 then expire_chunks(name, count, 10 * YEAR) elseif expires <= YEAR then delete_body(name, count) end
end

-- The current time, the same throughout a script.
local moment
local function milliseconds()
  if not moment then
    local time = redis.call('TIME')
    moment = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return moment
end

-- Acknowledges a job: true for the first call, false for all later ones (by a worker that seemed dead, or by a command that
-- was resent after its connection was lost). A script that gets false publishes nothing.
local function ack(entry, size)
  if redis.call('XACK', INBOX, GROUP, entry) == 0 then return false end
  if chunks > 0 then release_heavy_bytes(entry, size) end
  redis.call('XDEL', INBOX, entry)
  release_bytes(size)
  delete_chunks()
  return true
end

-- Removes the oldest publications that exceed the bounds in number, bytes or age; the newest always stays. `length` and
-- `bytes` are the current ones, `newest` the bytes of the newest.
local function trim(length, bytes, newest)
  local horizon = milliseconds() - OUTBOX_AGE
  local dropped = 0
  while length - dropped > 1 do
    local at, size, name, count = redis.call('LINDEX', OUTBOX_SIZES, 0):match('(%d+) (%d+) ?(%S*) ?(%d*)')
    local fits = length - dropped <= OUTBOX_MESSAGES and bytes <= OUTBOX_BYTES and tonumber(at) >= horizon
    if fits then break end
    redis.call('LPOP', OUTBOX_SIZES)
    if name ~= '' then release_from_outbox(name, count) end
    bytes = bytes - size
    dropped = dropped + 1
  end
  if dropped > 0 then
    redis.call('XTRIM', OUTBOX, 'MAXLEN', '=', length - dropped)
    -- The sum may be too high, if COUNTERS was restored from an old copy.
    redis.call('HSET', COUNTERS, 'outbox_bytes', length - dropped == 1 and newest or bytes)
  end
end

-- The time when a message with this id was published, in milliseconds, if that was recently.
local function published_at(id)
  local at = tonumber(redis.call('ZSCORE', IDS, id))
  return at and at >= milliseconds() - IDS_AGE and at
end

local function is_duplicate(id)
  return id ~= '' and published_at(id)
end

-- The connection that a job comes from: the first two of the three parts of its source.
local function connection_of(source)
  return source:match('^(.+)/') or ''
end

-- A connection's nickname: its key, and as its holder spells it; nil if there is none.
local function nickname_of(connection)
  local nickname = redis.call('HGET', NICKNAMES, connection) or ''
  return nickname:match('^%S+'), nickname:match('%S+$')
end

local function record_id(id)
  redis.call('ZADD', IDS, milliseconds(), id)
end

local function delete_ids(ids)
  for first = 1, #ids, 1000 do
    local last = math.min(first + 999, #ids)
    redis.call('ZREM', IDS, unpack(ids, first, last))
    redis.call('HDEL', SENDERS, unpack(ids, first, last))
  end
end

local function trim_ids()
  delete_ids(redis.call('ZRANGEBYSCORE', IDS, '-inf', '(' .. milliseconds() - IDS_AGE))
  delete_ids(redis.call('ZRANGE', IDS, 0, -IDS_NUMBER - 1))
end

-- Publishes an entry; `id` is the message's, if it has one: clients can ask for what follows it. Returns the entry's id.
local function publish(source, outcome, to, kind, id, body)
  local offset = redis.call('HINCRBY', COUNTERS, 'published', 1)
  local place = redis.call('XADD', OUTBOX, '*',
    'offset', offset, 'source', source, 'outcome', outcome, 'to', to, 'type', kind, 'id', id, 'body', body)
  -- An offset of 1 reveals that COUNTERS was deleted, a first size that OUTBOX_SIZES was.
  if offset == 1 then redis.call('DEL', OUTBOX_SIZES) end
  local name, count, bytes = chunks_of(body)
  local size, chunked = #body + (bytes or 0), ''
  if name then
    retain_for_outbox(name, count)
    chunked = ' ' .. name .. ' ' .. count
  end
  local length = redis.call('RPUSH', OUTBOX_SIZES, milliseconds() .. ' ' .. size .. chunked)
  if length == 1 then redis.call('HDEL', COUNTERS, 'outbox_bytes') end
  trim(length, redis.call('HINCRBY', COUNTERS, 'outbox_bytes', size), size)
  if id ~= '' then record_id(id) end
  if offset % IDS_STEP == 0 then trim_ids() end
  return place
end

-- The id of a message; only its type precedes it.
local function id_of(body)
  return body:match('"id":"(.-)"')
end

local function type_of(body)
  return body:match('"type":"(%a+)"')
end

-- Releases the chunks and removes the place of a message that is not stored any more. Returns the bytes of body and place;
-- most messages have no place.
local function release_stored(body)
  release_from_history(body)
  local size, id = size_of(body), id_of(body)
  local may_have_place = id and PLACED:find(' ' .. (type_of(body) or '') .. ' ', 1, true)
  local place = may_have_place and redis.call('HGET', PLACES, id)
  if not place then return size end
  redis.call('HDEL', PLACES, id)
  redis.call('HINCRBY', COUNTERS, 'places', -1)
  return size + #place
end

-- Recounts the bytes of all stored messages and places; removes places without a message.
local function count_history()
  local bytes, is_there, places = 0, {}, redis.call('HGETALL', PLACES)
  for _, body in ipairs(redis.call('LRANGE', HISTORY, 0, -1)) do
    bytes = bytes + size_of(body)
    is_there[id_of(body) or ''] = true
  end
  for index = 1, #places, 2 do
    if is_there[places[index]] then
      bytes = bytes + #places[index + 1]
    else
      redis.call('HDEL', PLACES, places[index])
    end
  end
  redis.call('HSET', COUNTERS, 'history_bytes', bytes, 'places', redis.call('HLEN', PLACES))
  return bytes
end

-- Stores the place of a message. Returns whether all places counted before still exist.
local function store_place(id, place)
  local is_new = redis.call('HSET', PLACES, id, place)
  return redis.call('HINCRBY', COUNTERS, 'places', is_new) == redis.call('HLEN', PLACES) and is_new == 1
end

-- Stores a message and its place, if it has one; both count towards the bounds. The newest message always stays.
local function store(body, id, place)
  if HISTORY_MESSAGES == 0 then return end
  local length, grown = redis.call('RPUSH', HISTORY, body), size_of(body) + (place and #place or 0)
  retain_for_history(body)
  local is_counted = not place or store_place(id, place)
  if length > HISTORY_MESSAGES then -- usually, one message replaces another
    grown = grown - release_stored(redis.call('LPOP', HISTORY))
    length = length - 1
  end
  local bytes = redis.call('HINCRBY', COUNTERS, 'history_bytes', grown)
  -- The history, the places or the counters were deleted.
  if bytes == grown or bytes < 0 or not is_counted then bytes = count_history() end
  while length > 1 and (length > HISTORY_MESSAGES or bytes > HISTORY_BYTES) do
    bytes = redis.call('HINCRBY', COUNTERS, 'history_bytes', -release_stored(redis.call('LPOP', HISTORY)))
    length = length - 1
  end
  if length == 1 then count_history() end -- … or were restored from an old copy, and the sum is too high
end

-- Returns the stored messages, oldest first.
local function history()
  if HISTORY_MESSAGES == 0 then return {} end
  return redis.call('LRANGE', HISTORY, -HISTORY_MESSAGES, -1)
end

-- Whether a front's lease is valid.
local function is_alive(front)
  local ends = redis.call('ZSCORE', FRONTS, front)
  return ends and tonumber(ends) > milliseconds()
end

-- Whether a front has a lease, valid or not: until a worker reaps it, the front may still renew an expired one.
local function is_known(front)
  return redis.call('ZSCORE', FRONTS, front)
end

-- The front of a connection.
local function front_of(connection)
  return connection:match('^(.+)/')
end

-- The field of COUNTERS by which a participant tells that it follows references to large bodies.
local function follows_field(front)
  return 'follows:' .. front
end

-- The connections of a front that have a nickname.
local function connections_of(front)
  local connections = {}
  for _, connection in ipairs(redis.call('HKEYS', NICKNAMES)) do
    if connection:sub(1, #front + 1) == front .. '/' then table.insert(connections, connection) end
  end
  return connections
end

-- The number of connections in the channel, over all living fronts.
local function user_count()
  local total = 0
  for _, front in ipairs(redis.call('ZRANGEBYSCORE', FRONTS, milliseconds(), '+inf')) do
    total = total + (redis.call('HGET', COUNTS, front) or 0)
  end
  return total
end

-- A message of the server; its content, as JSON, has the type's name as its key.
local function server_message(kind, id, content)
  local seconds = string.format('%d', math.floor(milliseconds() / 1000))
  return '{"type":"' .. kind .. '","id":"' .. id .. '","timestamp":' .. seconds .. ',"' .. kind .. '":' .. content .. '}'
end

-- Publishes the user count; `id` is the message's.
local function publish_count(source, id)
  publish(source, 'published', '', 'nb_users', id, server_message('nb_users', id, string.format('%d', user_count())))
end

-- Whether a nickname (its key) is registered by another connection than that of the source.
local function is_owned_by_other(source, author)
  local owner = source ~= OPERATOR and redis.call('HGET', USERS, author)
  return owner and owner ~= connection_of(source)
end

local function discard(letter)
  redis.call('XDEL', DEAD, letter[1])
  redis.call('HINCRBY', COUNTERS, 'dead_bytes', -#field_of(letter, 'body'))
end
