-- Gives up a nickname at its client's request: the nickname becomes free, the channel is told. Only its holder may do so.
local entry, size, source, id, sender, digest, key, written, exiter, not_yours, used = unpack(ARGV)

if not ack(entry, size) then return 0 end
local connection = connection_of(source)
remove_wish(connection)
local mine, nickname = nickname_of(connection)
if mine ~= key and (mine or redis.call('HEXISTS', USERS, key) == 1) then
  publish(source, 'refused', '', 'uncompliant', '', not_yours)
  return 1
end
local verdict, own_id = judge(source, sender, id, digest)
if verdict == 'duplicate' then
  publish(source, 'duplicate', '', 'exiter', '', '')
elseif verdict == 'used' then
  publish(source, 'refused', '', 'duplicate_id', '', used)
else
  if mine then
    unset_nickname(connection, key)
    exiter = with_text(exiter, 'exiter', written, nickname) -- as its holder registered it
  end
  local place = publish(source, 'published', '', 'exiter', own_id, under_id(exiter, id, own_id))
  note_sender(source, sender, own_id, digest, place)
  if mine then grant(key) end
end
return 1
