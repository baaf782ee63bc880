-- A nickname that its front knows and Redis has lost: set again, without a word to the channel. Where somebody else took
-- it meanwhile, its former owner is told.
local entry, size, source, front, address, nickname, taken = unpack(ARGV)

if not take(entry, size) then return 0 end
local owner = redis.call('HGET', USERS, nickname)
if owner and owner ~= address then
  publish(source, 'refused', '', 'uncompliant', '', taken)
  return 1
end
if is_alive(front) then
  redis.call('HSET', USERS, nickname, address)
  redis.call('HSET', ADDRESSES, address, nickname)
end
publish(source, 'done', '', 'restore', '', '')
return 1
