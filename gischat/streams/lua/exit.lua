-- A client says that it goes: its nickname is free, the channel is told. Nobody can say it for another.
local entry, size, source, id, address, nickname, exiter, not_yours = unpack(ARGV)

if not take(entry, size) then return 0 end
local mine = redis.call('HGET', ADDRESSES, address)
if mine ~= nickname and (mine or redis.call('HEXISTS', USERS, nickname) == 1) then
  publish(source, 'refused', '', 'uncompliant', '', not_yours)
elseif is_repeated(id) then
  publish(source, 'repeated', '', 'exiter', '', '')
else
  if mine then forget(address, nickname) end
  publish(source, 'published', '', 'exiter', id, exiter)
end
return 1
