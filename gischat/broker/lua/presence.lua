-- Stands before the scripts of presence, behind the prelude: who has which nickname, and who wants it.
--
-- Nicknames that differ in case alone are one: they are compared by a key, which the workers make (`messages.folded`).
-- Each is told and shown as its holder wrote it.

local WISHES, WISHERS, PROCESSES = unpack(KEYS, FIRST_OWN)

-- A `newcomer` or `exiter`. A nickname holds nothing that JSON escapes.
local function announcement(kind, id, nickname)
  return server_message(kind, id, '"' .. nickname .. '"')
end

-- A wish: a connection wants a nickname that another has. It has one at a time; asked for again, it keeps its place.

local function forget_wish(connection)
  local key, number = (redis.call('HGET', WISHERS, connection) or ''):match('^(%S+) (%S+)')
  if not key then return end
  redis.call('HDEL', WISHERS, connection)
  redis.call('ZREM', WISHES, key .. ' ' .. number .. ' ' .. connection)
end

local function wish(connection, key, nickname, id)
  local wanted, number = (redis.call('HGET', WISHERS, connection) or ''):match('^(%S+) (%S+)')
  if wanted ~= key then
    forget_wish(connection)
    number = string.format('%016d', redis.call('HINCRBY', COUNTERS, 'wishes', 1)) -- in the control of letters
    redis.call('ZADD', WISHES, 0, key .. ' ' .. number .. ' ' .. connection)
  end
  redis.call('HSET', WISHERS, connection, table.concat({ key, number, id, nickname }, ' '))
end

-- Takes the oldest wish for a nickname of a connection whose front is there: the connection, the id of its newcomer, and
-- how it writes the nickname.
local function take_wish(key)
  while true do
    -- '!' follows the blank.
    local oldest = redis.call('ZRANGEBYLEX', WISHES, '[' .. key .. ' ', '(' .. key .. '!', 'LIMIT', 0, 1)[1]
    if not oldest then return end
    local connection = oldest:match('(%S+)$')
    local id, nickname = (redis.call('HGET', WISHERS, connection) or ''):match('^%S+ %S+ (%S+) (%S+)$')
    redis.call('ZREM', WISHES, oldest)
    redis.call('HDEL', WISHERS, connection)
    if id and is_alive(front_of(connection)) then return connection, id, nickname end
  end
end

local function set_nickname(connection, key, nickname)
  redis.call('HSET', USERS, key, connection)
  redis.call('HSET', NICKNAMES, connection, key .. ' ' .. nickname)
end

local function unset_nickname(connection, key)
  redis.call('HDEL', NICKNAMES, connection)
  redis.call('HDEL', USERS, key)
end

-- Takes a connection's nickname away and tells the channel, by a message of this id.
local function announce_exit(source, connection, key, nickname, id)
  unset_nickname(connection, key)
  publish(source, 'published', '', 'exiter', id, announcement('exiter', id, nickname))
end

-- Gives a nickname that has become free to whoever has wanted it longest. That one gives up the nickname that it has, for
-- which somebody may wait in turn: each time there is a wish less.
local function grant(key)
  while key do
    local connection, id, nickname = take_wish(key)
    if not connection then return end
    local key_before, before = nickname_of(connection)
    if before then
      announce_exit('', connection, key_before, before, unique_uuid('exiter ' .. connection))
    end
    set_nickname(connection, key, nickname)
    if published_at(id) then id = unique_uuid('newcomer ' .. connection) end
    publish('', 'granted', connection, 'newcomer', id, announcement('newcomer', id, nickname))
    key = key_before
  end
end

-- Frees the nickname of a connection and tells the channel, by a message whose id is made of `name`. False when the
-- connection had none.
local function release_nickname(source, connection, name)
  local key, nickname = nickname_of(connection)
  if not key then return false end
  announce_exit(source, connection, key, nickname, uuid('exiter ' .. name))
  grant(key)
  return true
end

-- Whose a nickname is. That of a front whose lease was ended, for its process is gone, is free, and goes to whoever waits.
local function owner_of(key)
  local owner = redis.call('HGET', USERS, key)
  if not owner or redis.call('ZSCORE', FRONTS, front_of(owner)) ~= '0' then return owner end
  local _, nickname = nickname_of(owner)
  redis.call('SADD', REAPED, owner)
  redis.call('EXPIRE', REAPED, REAPED_AGE)
  announce_exit('', owner, key, nickname, unique_uuid('exiter ' .. owner))
  grant(key)
  return redis.call('HGET', USERS, key)
end

-- Has the front of a connection ask it whether it is still there, for somebody of this client wants its nickname.
local function challenge(connection, client)
  publish('', 'control', '', 'challenge', '', cjson.encode({ connection = connection, client = client }))
end
