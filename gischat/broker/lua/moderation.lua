-- Stands before the scripts of moderation, behind the prelude: those of every message need none of it.

local BANS, DELETED, ACCESS_KEYS = unpack(KEYS, FIRST_OWN)

-- To every front, and to no client.
local function control(kind, body)
  publish('', 'control', '', kind, '', body)
end

-- Restrictions: the channel's bans and keys, and whether it is frozen. Each change has a number, by which a front sees
-- whether Redis has lost one that it knows of.
local function moderation_version()
  return tonumber(redis.call('HGET', COUNTERS, 'moderation') or 0)
end

local function restrictions_changed()
  control('moderation', string.format('%d', redis.call('HINCRBY', COUNTERS, 'moderation', 1)))
end

-- `json` is a ban or a key, into its hash; `ends` are milliseconds. What is over is removed.
local function put(hash, id, ends, json)
  redis.call('HSET', hash, id, string.format('%d', ends) .. ' ' .. json)
  local remaining = ends - milliseconds()
  if redis.call('PTTL', hash) < remaining then redis.call('PEXPIRE', hash, string.format('%d', remaining)) end
end

-- The bans, or the keys, that hold, as JSON.
local function that_hold(hash)
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
