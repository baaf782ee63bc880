-- Puts a front's job into the inbox. Returns the id of its entry; 'enqueued' when it was there before; or why it was not
-- (`EnqueueStatus`). 'state_lost': Redis has lost what the front has said or heard before, which has to be said again
-- first, for the order to hold. 'frozen': the channel is, and the job (which was not enqueued before, `again`) has to wait
-- for a thaw. `size` is that of the whole body, which is empty here when it is kept in chunks; for `heard` and `preceding`:
-- see `Inbox.enqueue`.
local front, heard, preceding, again, source, kind, id, body, size, client, sender = unpack(ARGV)

-- Who comes and goes is told in a frozen channel, too. But anybody may say `exiter`, and under any name that is free: that
-- of a connection without a nickname tells of nobody, and would be one more way to write.
local function passes_freeze()
  if kind == 'exiter' and redis.call('HEXISTS', NICKNAMES, source:match('^(.+)/')) == 0 then return false end
  return PASSES_FREEZE:find(' ' .. kind .. ' ', 1, true)
end

-- In an empty inbox, nothing is counted: what is was there when somebody removed the inbox.
local function forget_counters()
  redis.call('DEL', INBOX_BYTES)
  if chunks == 0 then return end
  for _, field in ipairs(redis.call('HKEYS', COUNTERS)) do
    if field:sub(1, #heavy_bytes_field('')) == heavy_bytes_field('') then redis.call('HDEL', COUNTERS, field) end
  end
end

local function has_lost(id)
  if id == '' or redis.call('ZSCORE', IDS, id) or redis.call('HEXISTS', SENDERS, id) == 1 then return false end
  return redis.call('ZCARD', IDS) < IDS_NUMBER -- else it may have been trimmed
end

local function refusal()
  local published, frozen, broken = unpack(redis.call('HMGET', COUNTERS, 'published', 'frozen', 'broken'))
  if broken then return 'damaged' end
  if tonumber(published or 0) < tonumber(heard) or not is_known(front) or has_lost(preceding) then
    return 'state_lost'
  end
  if frozen and again == '0' and not passes_freeze() then return 'frozen' end
  local waiting = redis.call('XLEN', INBOX)
  local bytes = tonumber(redis.call('GET', INBOX_BYTES) or 0)
  if waiting == 0 and bytes ~= 0 then forget_counters() bytes = 0 end
  if waiting >= INBOX_MESSAGES or (waiting > 0 and bytes + size > INBOX_MAX_BYTES) then return 'full' end
  if chunks > 0 and waiting > 0 and client ~= '' and again == '0' then
    -- Room for others is left: nobody has more waiting than is free then.
    local of_client = tonumber(redis.call('HGET', COUNTERS, heavy_bytes_field(client)) or 0)
    if of_client > 0 and of_client + size > INBOX_MAX_BYTES - bytes - size then return 'address_queue_full' end
  end
end

-- Parts expire until their job is taken: who brings them may die in between. What does not expire belongs to a job that
-- was taken, and has not ended: this one, asked for again.
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
