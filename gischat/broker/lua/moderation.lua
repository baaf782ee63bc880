-- For scripts for moderation, after the prelude; scripts for messages do not need it.

local BANS, DELETED, ACCESS_KEYS = unpack(KEYS, FIRST_OWN)

-- Publishes a control message: to every front, and to no client.
local function control(kind, body)
  publish('', 'control', '', kind, '', body)
end

-- The moderation state consists of the channel's bans, keys and freeze. Each change increments its version, by which a front
-- detects that Redis has lost a change.
local function moderation_version()
  return tonumber(redis.call('HGET', COUNTERS, 'moderation') or 0)
end

local function moderation_changed()
  control('moderation', string.format('%d', redis.call('HINCRBY', COUNTERS, 'moderation', 1)))
end

-- Stores a ban or a key (`json`) until `ends`, in milliseconds; the hash expires with its last entry.
local function put(hash, id, ends, json)
  redis.call('HSET', hash, id, string.format('%d', ends) .. ' ' .. json)
  local remaining = ends - milliseconds()
  if redis.call('PTTL', hash) < remaining then redis.call('PEXPIRE', hash, string.format('%d', remaining)) end
end

-- Returns the bans, or the keys, that have not expired, as JSON; removes the others.
local function unexpired(hash)
  local now, found, stored = milliseconds(), {}, redis.call('HGETALL', hash)
  for index = 1, #stored, 2 do
    local ends, json = stored[index + 1]:match('(%d+) (.*)')
    if tonumber(ends) > now then
      table.insert(found, json)
    else
      redis.call('HDEL', hash, stored[index])
    end
  end
  return found
end
