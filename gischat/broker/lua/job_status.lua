-- What has become of a job whose end is overdue, which is in flight still. Returns its state (`JobState`), and the number
-- of the newest publication in the outbox: who has heard that, and not of the job's end, never will.
-- `place` is that of its entry, '' where that is not known. `cancels_to`: where nothing has become of it, and nothing newer
-- than that number is published, nothing is to become of it any more, should it come to light again (a key that an operator brings
-- back): then its sender can be told so. -1 where that is not asked for.
local front, heard, cancels_to, place, source, id, sender, size = unpack(ARGV)

-- Any key may be of a wrong type here: then nothing is in it.
local function tried(act, ...)
  local is_done, answer = pcall(act, ...)
  return is_done and answer or nil
end

local function entry_in_inbox()
  if place ~= '' then return redis.call('XRANGE', INBOX, place, place)[1] and place end
  local after = '-'
  while true do
    local page = redis.call('XRANGE', INBOX, after, '+', 'COUNT', 100)
    for _, entry in ipairs(page) do
      if field_of(entry, 'source') == source then return entry[1] end
    end
    if #page < 100 then return end
    after = '(' .. page[#page][1]
  end
end

local function newest_number()
  local newest = redis.call('XREVRANGE', OUTBOX, '+', '-', 'COUNT', 1)[1]
  return newest and tonumber(field_of(newest, 'offset'))
end

local function remove(entry)
  tried(redis.call, 'XACK', INBOX, GROUP, entry) -- no group, no worker
  if chunks > 0 then tried(release_heavy_bytes, entry, size) end
  redis.call('XDEL', INBOX, entry)
  tried(redis.call, 'DECRBY', INBOX_BYTES, size)
end

-- Not published under this id by this sender, now or later: see `judge`.
local function use_up()
  redis.call('ZADD', IDS, milliseconds(), id)
  redis.call('HSET', SENDERS, id, CANCELLED_DIGEST .. ' - ' .. (sender ~= '' and sender or connection_of(source)))
end

local are_there, counters = pcall(redis.call, 'HMGET', COUNTERS, 'published', 'broken', 'lost_at')
if not are_there then counters = { heard, '1' } end
local is_damaged, lost_at = counters[2], tonumber(counters[3] or 0)
local newest = tried(newest_number) or 0
local can_tell, is_there = pcall(is_known, front)
if tonumber(counters[1] or 0) < tonumber(heard) or can_tell and not is_there then return { 'state_lost', newest } end

local entry = tried(entry_in_inbox)
if entry and not is_damaged then return { 'pending', newest } end -- in a damaged channel nobody takes it
if id ~= '' and tried(published_at, id) then
  local note = tried(redis.call, 'HGET', SENDERS, id) or ''
  return { note:match('^%S+') == CANCELLED_DIGEST and 'cancelled' or 'published', newest }
end
local is_settling = milliseconds() - lost_at < SETTLING -- others may yet say again what Redis has lost
if newest <= tonumber(cancels_to) and not is_settling then
  if entry then remove(entry) end
  delete_chunks()
  if id ~= '' then tried(use_up) end
  return { 'cancelled', newest }
end
if not entry then delete_chunks() end -- or, asked for again, it would seem to be taken
return { 'missing', newest }
