-- A client says that it goes: its nickname is free, the channel is told. Nobody can say it for another.
local entry, size, source, id, address, nickname, exiter, exiter_head, not_yours = unpack(ARGV)

if not take(entry, size) then return 0 end
local mine = redis.call('HGET', ADDRESSES, address)
local is_mine = mine == nickname
if not is_mine and (mine or redis.call('HEXISTS', USERS, nickname) == 1) then
  publish(source, 'refused', '', 'uncompliant', '', not_yours)
elseif is_repeated(id) then
  publish(source, 'repeated', '', 'exiter', '', '')
elseif is_mine then
  give_up(source, address, exiter_head)
else
  publish(source, 'published', '', 'exiter', id, exiter)
end
return 1
