-- Stands before the scripts of moderation, behind the prelude: those of every message need none of it.

local BANS, DELETED = unpack(KEYS, FIRST_OWN)

-- To every front, and to no client.
local function control(kind, body)
  publish('', 'control', '', kind, '', body)
end

-- Restrictions: the channel's bans, and whether it is frozen. Each change has a number, by which a front sees whether
-- Redis has lost one that it knows of.
local function moderation_version()
  return tonumber(redis.call('HGET', COUNTERS, 'moderation') or 0)
end

local function restrictions_changed()
  control('moderation', string.format('%d', redis.call('HINCRBY', COUNTERS, 'moderation', 1)))
end

-- `ban` is JSON; `ends` are milliseconds. What is over is removed.
local function put_ban(id, ends, ban)
  redis.call('HSET', BANS, id, string.format('%d', ends) .. ' ' .. ban)
  local remaining = ends - milliseconds()
  if redis.call('PTTL', BANS) < remaining then redis.call('PEXPIRE', BANS, string.format('%d', remaining)) end
end

-- The bans that hold, as JSON.
local function bans_that_hold()
  local now, bans, stored = milliseconds(), {}, redis.call('HGETALL', BANS)
  for index = 1, #stored, 2 do
    local ends, ban = stored[index + 1]:match('(%d+) (.*)')
    if tonumber(ends) > now then
      table.insert(bans, ban)
    else
      redis.call('HDEL', BANS, stored[index])
    end
  end
  return bans
end
