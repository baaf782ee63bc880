-- Repairs the two pairs of keys with registered and requested nicknames so that they agree, and gives each front in them a
-- lease: one of the keys may have been deleted, or restored from an old copy. Fronts are asked for what cannot be repaired
-- here. `is_thorough`: also if the keys agree in size. Returns whether something was wrong.
local lease, is_thorough = ARGV[1], ARGV[2]

local function pairs_of(key)
  local found, at = redis.call('HGETALL', key), -1
  return function()
    at = at + 2
    return found[at], found[at + 1]
  end
end

local differing = redis.call('HLEN', USERS) - redis.call('HLEN', NICKNAMES)
local wished = redis.call('ZCARD', WISHES)
if differing == 0 and redis.call('HLEN', WISHERS) == wished and is_thorough == '0' then return 0 end

-- An unknown front gets a lease to renew; otherwise it is reaped with all its nicknames.
local function expect(front)
  redis.call('ZADD', FRONTS, 'NX', milliseconds() + lease, front)
end

local is_wrong, in_doubt = false, {}
local function doubt(connection)
  is_wrong = true
  table.insert(in_doubt, connection)
end

for connection, nickname in pairs_of(NICKNAMES) do
  local key = nickname:match('^%S+')
  local owner = redis.call('HGET', USERS, key)
  expect(front_of(connection))
  if owner ~= connection then
    local owners_key = owner and nickname_of(owner)
    if owners_key == key then -- two connections have the same nickname
      redis.call('HDEL', NICKNAMES, connection)
    else
      redis.call('HSET', USERS, key, connection)
    end
    doubt(connection)
  end
end
for key, connection in pairs_of(USERS) do
  local has = nickname_of(connection)
  expect(front_of(connection))
  if has ~= key then
    redis.call('HDEL', USERS, key)
    is_wrong = true
  end
end
for connection, wanted in pairs_of(WISHERS) do
  local key, number = wanted:match('^(%S+) (%S+)')
  expect(front_of(connection))
  if redis.call('ZADD', WISHES, 0, key .. ' ' .. number .. ' ' .. connection) == 1 then doubt(connection) end
end
for _, wanted in ipairs(redis.call('ZRANGE', WISHES, 0, -1)) do
  local head, connection = wanted:match('^(%S+ %S+) (%S+)$')
  if (redis.call('HGET', WISHERS, connection) or ''):sub(1, #head + 1) ~= head .. ' ' then
    redis.call('ZREM', WISHES, wanted)
    is_wrong = true
  end
end
for front in pairs_of(COUNTS) do expect(front) end

if not is_wrong then return 0 end
publish('', 'control', '', 'nicknames', '', table.concat(in_doubt, ' '))
return 1
