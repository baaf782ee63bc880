-- Publishes a like to the liked author's connection alone, to nobody if there is none. `used`, `not_yours`: see commit.
local entry, size, source, id, sender, digest, key, body, used, not_yours, author = unpack(ARGV)

if not ack(entry, size) then return 0 end
local liked = redis.call('HGET', USERS, key)
local verdict, own_id = judge(source, sender, id, digest)
if verdict == 'duplicate' then
  publish(source, 'duplicate', '', 'like', '', '')
elseif verdict == 'used' then
  publish(source, 'refused', '', 'duplicate_id', '', used)
elseif not_yours and is_owned_by_other(source, author) then
  publish(source, 'refused', '', 'not_registered', '', not_yours)
elseif liked then
  local place = publish(source, 'done', liked, 'like', own_id, under_id(body, id, own_id))
  note_sender(source, sender, own_id, digest, place)
else
  publish(source, 'done', '', 'like', '', '')
end
return 1
