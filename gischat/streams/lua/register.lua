-- Gives a nickname to a connection, in place of the one that it had, or refuses: taken.
local entry, size, source, id, front, address, nickname, newcomer, exiter_head, taken, cut_off = unpack(ARGV)

if not take(entry, size) then return 0 end
local owner = redis.call('HGET', USERS, nickname)
if not is_known(front) then
  -- It was swept meanwhile: a nickname given now would be a ghost. If it lives, for it was only cut off, its client is
  -- told.
  publish(source, 'refused', '', 'uncompliant', '', cut_off)
elseif owner and owner ~= address then
  publish(source, 'refused', '', 'uncompliant', '', taken)
elseif is_repeated(id) then
  publish(source, 'repeated', '', 'newcomer', '', '')
elseif owner then
  publish(source, 'refused', '', 'uncompliant', '', taken)
else
  give_up('', address, exiter_head)
  redis.call('HSET', USERS, nickname, address)
  redis.call('HSET', ADDRESSES, address, nickname)
  publish(source, 'published', '', 'newcomer', id, newcomer)
end
return 1
