-- For scripts for presence, after the prelude: registered nicknames, and requests for them.
--
-- Nicknames that differ only in case are equal: they are compared by keys, which workers compute (`messages.folded`).
-- Messages contain them as their holders spell them.

local WISHES, WISHERS, PROCESSES = unpack(KEYS, FIRST_OWN)

-- A `newcomer` or `exiter` message. JSON escapes no character of a nickname.
local function announcement(kind, id, nickname)
  return server_message(kind, id, '"' .. nickname .. '"')
end

-- A wish is a connection's request for a nickname that another connection has. Each connection has one at most; a repeated
-- request keeps its position.

local function remove_wish(connection)
  local key, number = (redis.call('HGET', WISHERS, connection) or ''):match('^(%S+) (%S+)')
  if not key then return end
  redis.call('HDEL', WISHERS, connection)
  redis.call('ZREM', WISHES, key .. ' ' .. number .. ' ' .. connection)
end

local function wish(connection, key, nickname, id)
  local wanted, number = (redis.call('HGET', WISHERS, connection) or ''):match('^(%S+) (%S+)')
  if wanted ~= key then
    remove_wish(connection)
    number = string.format('%016d', redis.call('HINCRBY', COUNTERS, 'wishes', 1)) -- padded to sort as text
    redis.call('ZADD', WISHES, 0, key .. ' ' .. number .. ' ' .. connection)
  end
  redis.call('HSET', WISHERS, connection, table.concat({ key, number, id, nickname }, ' '))
end

-- Removes and returns the oldest wish for a nickname whose connection's front is alive: the connection, the id of its
-- `newcomer`, and the nickname as it spells it.
local function take_wish(key)
  while true do
    -- '!' follows the space in ASCII.
    local oldest = redis.call('ZRANGEBYLEX', WISHES, '[' .. key .. ' ', '(' .. key .. '!', 'LIMIT', 0, 1)[1]
    if not oldest then return end
    local connection = oldest:match('(%S+)$')
    local id, nickname = (redis.call('HGET', WISHERS, connection) or ''):match('^%S+ %S+ (%S+) (%S+)$')
    redis.call('ZREM', WISHES, oldest)
    redis.call('HDEL', WISHERS, connection)
    if not id then -- WISHERS was deleted: fronts send their wishes again
      publish('', 'control', '', 'nicknames', '', '')
    elseif is_alive(front_of(connection)) then
      return connection, id, nickname
    end
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

-- Frees a connection's nickname and tells the channel, by a message with this id.
local function announce_exit(source, connection, key, nickname, id)
  unset_nickname(connection, key)
  publish(source, 'published', '', 'exiter', id, announcement('exiter', id, nickname))
end

-- Gives a free nickname to the connection that has requested it first. This frees the connection's previous nickname, which
-- may be granted in turn; the loop ends, because each round removes a wish.
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

-- Frees a connection's nickname and tells the channel, by a message whose id derives from `name`. Returns false if the
-- connection had none.
local function release_nickname(source, connection, name)
  local key, nickname = nickname_of(connection)
  if not key then return false end
  local owner = redis.call('HGET', USERS, key)
  if owner and owner ~= connection then -- USERS was deleted, and somebody else has registered the nickname since
    redis.call('HDEL', NICKNAMES, connection)
    return false
  end
  announce_exit(source, connection, key, nickname, uuid('exiter ' .. name))
  grant(key)
  return true
end

-- Returns the connection that has a nickname. If the lease of its front was ended for a dead process, the nickname is freed
-- and granted first.
local function owner_of(key)
  local owner = redis.call('HGET', USERS, key)
  if not owner or redis.call('ZSCORE', FRONTS, front_of(owner)) ~= '0' then return owner end
  local has, nickname = nickname_of(owner)
  if has == key then
    redis.call('SADD', REAPED, owner)
    redis.call('EXPIRE', REAPED, REAPED_AGE)
    announce_exit('', owner, key, nickname, unique_uuid('exiter ' .. owner))
  else -- NICKNAMES was deleted
    redis.call('HDEL', USERS, key)
  end
  grant(key)
  return redis.call('HGET', USERS, key)
end

-- Orders a connection's front to check that it is alive, because a client at this address requests its nickname.
local function challenge(connection, client)
  publish('', 'control', '', 'challenge', '', cjson.encode({ connection = connection, client = client }))
end
