-- Puts a front's job into the inbox. Returns the id of its entry; 'enqueued' if it was there before; otherwise why it was
-- not enqueued (`EnqueueStatus`). 'state_lost': Redis has lost what the front had sent or received; to keep the order, the
-- front recovers that first. 'frozen': the channel is frozen; with `again` (the job was enqueued before) that does not
-- matter. `size` is that of the whole body; `body` is empty if it is in chunks. `last_offset`, `preceding`: see
-- `Inbox.enqueue`.
local front, last_offset, preceding, again, source, kind, id, body, size, client, sender = unpack(ARGV)

-- Presence is published in a frozen channel, too. But everybody may send `exiter` under any free name: from a connection
-- without a nickname it would be a way to write.
local function passes_freeze()
  if kind == 'exiter' and redis.call('HEXISTS', NICKNAMES, source:match('^(.+)/')) == 0 then return false end
  return PASSES_FREEZE:find(' ' .. kind .. ' ', 1, true)
end

-- Resets counters that are wrong because somebody has deleted the inbox, or restored them from an old copy: those of an
-- empty inbox are zero.
local function reset_counters()
  redis.call('DEL', INBOX_BYTES)
  if chunks == 0 then return end
  for _, field in ipairs(redis.call('HKEYS', COUNTERS)) do
    if field:sub(1, #heavy_bytes_field('')) == heavy_bytes_field('') then redis.call('HDEL', COUNTERS, field) end
  end
end

local function has_lost(id)
  if id == '' or redis.call('ZSCORE', IDS, id) or redis.call('HEXISTS', SENDERS, id) == 1 then return false end
  return redis.call('ZCARD', IDS) < IDS_NUMBER -- otherwise the id may have been trimmed
end

local function refusal()
  local published, frozen, broken = unpack(redis.call('HMGET', COUNTERS, 'published', 'frozen', 'broken'))
  if broken then return 'damaged' end
  if tonumber(published or 0) < tonumber(last_offset) or not is_known(front) or has_lost(preceding) then
    return 'state_lost'
  end
  if frozen and again == '0' and not passes_freeze() then return 'frozen' end
  local waiting = redis.call('XLEN', INBOX)
  local bytes = tonumber(redis.call('GET', INBOX_BYTES) or 0)
  if waiting == 0 and (bytes ~= 0 or chunks > 0) then reset_counters() bytes = 0 end
  if waiting >= INBOX_MESSAGES or (waiting > 0 and bytes + size > INBOX_MAX_BYTES) then return 'full' end
  if chunks > 0 and waiting > 0 and client ~= '' and again == '0' then
    -- Keeps room for others: a client may have at most as many bytes waiting as remain free.
    local of_client = tonumber(redis.call('HGET', COUNTERS, heavy_bytes_field(client)) or 0)
    if of_client > 0 and of_client + size > INBOX_MAX_BYTES - bytes - size then return 'address_queue_full' end
  end
end

-- Chunks expire until their job is enqueued, because the front may die during the upload. Chunks that do not expire belong
-- to a job that was enqueued and has not ended: this one, enqueued again.
if chunks > 0 then
  for index = FIRST_CHUNK, #KEYS do
    local expires = redis.call('PTTL', KEYS[index])
    if expires == -1 then return 'enqueued' end
    if expires == -2 then return 'body_incomplete' end
  end
end

local refused = refusal()
if refused then
  delete_chunks()
  return refused
end
local entry
if chunks > 0 then
  entry = redis.call('XADD', INBOX, '*', 'source', source, 'type', kind, 'id', id, 'body', '', 'client', client,
    'sender', sender, 'chunks', chunks, 'chunked_size', size)
  for index = FIRST_CHUNK, #KEYS do redis.call('PERSIST', KEYS[index]) end
  redis.call('HINCRBY', COUNTERS, heavy_bytes_field(client), size)
else
  entry = redis.call('XADD', INBOX, '*', 'source', source, 'type', kind, 'id', id, 'body', body, 'client', client,
    'sender', sender)
end
redis.call('INCRBY', INBOX_BYTES, size)
return entry
