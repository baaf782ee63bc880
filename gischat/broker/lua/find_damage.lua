-- Returns the damaged keys of many channels, by channel: those of a wrong type (see `ChannelKeys.types`), and those with a
-- number that is none. gischat did not write them, and an operator has to repair them. Until then the channel accepts no
-- jobs: see enqueue. ARGV: the types of a channel's keys, of which all strings are numbers.
local numbers = {
  'published', 'outbox_bytes', 'history_bytes', 'places', 'dead_bytes', 'moderation', 'wishes', 'lost_at', 'deleted_to',
}

local function is_number(stored)
  return not stored or stored:match('^%-?%d+$')
end

local found = {}
for first = 0, #KEYS - 1, #ARGV do
  local damaged, has_type = {}, {}
  local function add(key, field)
    table.insert(damaged, key .. (field and ' (' .. field .. ' is no number)' or ''))
  end

  for index, right in ipairs(ARGV) do
    local key = KEYS[first + index]
    local type = redis.call('TYPE', key).ok
    has_type[key] = type == right
    if type ~= 'none' and type ~= right then
      add(key)
    elseif type == 'string' and not is_number(redis.call('GET', key)) then
      add(key, 'it')
    end
  end

  COUNTERS, COUNTS = KEYS[first + 4], KEYS[first + 9]
  for index, stored in ipairs(has_type[COUNTERS] and redis.call('HMGET', COUNTERS, unpack(numbers)) or {}) do
    if not is_number(stored) then add(COUNTERS, numbers[index]) end
  end
  local counts = has_type[COUNTS] and redis.call('HGETALL', COUNTS) or {}
  for index = 1, #counts, 2 do
    if not is_number(counts[index + 1]) then add(COUNTS, counts[index]) end
  end

  if #damaged == 0 then
    redis.call('HDEL', COUNTERS, 'broken')
  else
    redis.pcall('HSET', COUNTERS, 'broken', 1) -- fails if COUNTERS is of a wrong type; then enqueue fails, too
  end
  table.insert(found, damaged)
end
return found
