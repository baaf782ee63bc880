-- To the liked author's connection alone; to nobody where there is none.
local entry, size, source, id, nickname, body = unpack(ARGV)

if not take(entry, size) then return 0 end
local address = redis.call('HGET', USERS, nickname)
if not is_new(id) then
  publish(source, 'repeated', '', 'like', '')
elseif address then
  publish(source, 'done', address, 'like', body)
else
  publish(source, 'done', '', 'like', '')
end
return 1
