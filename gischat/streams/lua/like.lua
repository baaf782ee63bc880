-- To the liked author's connection alone; to nobody where there is none. `not_yours`: see finish.
local entry, size, source, id, nickname, body, not_yours = unpack(ARGV)

if not take(entry, size) then return 0 end
local address = redis.call('HGET', USERS, nickname)
if is_repeated(id) then
  publish(source, 'repeated', '', 'like', '', '')
elseif not_yours and is_anothers(source, body) then
  publish(source, 'refused', '', 'uncompliant', '', not_yours)
elseif address then
  publish(source, 'done', address, 'like', id, body)
else
  publish(source, 'done', '', 'like', '', '')
end
return 1
