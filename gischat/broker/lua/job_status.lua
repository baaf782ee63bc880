-- Returns the state (`JobState`) of a job in flight whose result is overdue, and the offset of the newest publication in the
-- outbox: a front that has received that one, but not the job's result, will never receive the result.
-- `entry_id` is that of the job, '' if unknown. `cancels_to`: cancel a missing job if no publication is newer than this
-- offset, so that its sender can be told; it is not published then even if it reappears (with a key that an operator
-- restores). -1: do not cancel.
local front, last_offset, cancels_to, entry_id, source, id, sender, size = unpack(ARGV)

-- Any key may have a wrong type here: it is treated as empty.
local function try(act, ...)
  local is_done, answer = pcall(act, ...)
  return is_done and answer or nil
end

local function entry_in_inbox()
  if entry_id ~= '' then return redis.call('XRANGE', INBOX, entry_id, entry_id)[1] and entry_id end
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

local function newest_offset()
  local newest = redis.call('XREVRANGE', OUTBOX, '+', '-', 'COUNT', 1)[1]
  return newest and tonumber(field_of(newest, 'offset'))
end

local function remove(entry)
  try(redis.call, 'XACK', INBOX, GROUP, entry) -- fails if there is no group
  if chunks > 0 then try(release_heavy_bytes, entry, size) end
  redis.call('XDEL', INBOX, entry)
  try(release_bytes, size)
end

-- Marks the id as used by this sender, so that the job is not published later: see `judge`.
local function use_up()
  redis.call('ZADD', IDS, milliseconds(), id)
  redis.call('HSET', SENDERS, id, CANCELLED_DIGEST .. ' - ' .. (sender ~= '' and sender or connection_of(source)))
end

local are_there, counters = pcall(redis.call, 'HMGET', COUNTERS, 'published', 'broken', 'lost_at')
if not are_there then counters = { last_offset, '1' } end
local is_damaged, lost_at = counters[2], tonumber(counters[3] or 0)
local newest = try(newest_offset) or 0
local can_tell, is_there = pcall(is_known, front)
if tonumber(counters[1] or 0) < tonumber(last_offset) or can_tell and not is_there then return { 'state_lost', newest } end

local entry = try(entry_in_inbox)
if entry and not is_damaged then return { 'pending', newest } end -- workers skip damaged channels
if not entry then delete_chunks() end -- otherwise enqueue would take the job, published before or not, for enqueued
if id ~= '' and try(published_at, id) then
  local note = try(redis.call, 'HGET', SENDERS, id) or ''
  return { note:match('^%S+') == CANCELLED_DIGEST and 'cancelled' or 'published', newest }
end
local is_settling = milliseconds() - lost_at < SETTLING -- other fronts may still replay what Redis has lost
if newest <= tonumber(cancels_to) and not is_settling then
  if entry then
    remove(entry)
    delete_chunks()
  end
  if id ~= '' then try(use_up) end
  return { 'cancelled', newest }
end
return { 'missing', newest }
