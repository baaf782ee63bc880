-- A client says that it goes: its nickname is free, the channel is told. Nobody can say it for another.
local entry, size, source, address, nickname, exiter, exiter_head, not_yours = unpack(ARGV)

if not take(entry, size) then return 0 end
local mine = redis.call('HGET', ADDRESSES, address)
if mine == nickname then
  give_up(source, address, exiter_head)
elseif mine or redis.call('HEXISTS', USERS, nickname) == 1 then
  publish(source, 'refused', '', 'uncompliant', not_yours)
else
  publish(source, 'published', '', 'exiter', exiter)
end
return 1
