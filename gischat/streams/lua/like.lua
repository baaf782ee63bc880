-- To the liked author's connection alone; to nobody where there is none.
local entry, size, source, id, nickname, body = unpack(ARGV)

if not take(entry, size) then return 0 end
local address = redis.call('HGET', USERS, nickname)
if is_repeated(id) then
  publish(source, 'repeated', '', 'like', '', '')
elseif address then
  publish(source, 'done', address, 'like', id, body)
else
  publish(source, 'done', '', 'like', '', '')
end
return 1
