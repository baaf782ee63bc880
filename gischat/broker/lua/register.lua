-- Registers a nickname for a connection, in place of its previous one. If another connection has it, the request is kept
-- until the nickname is free, and the holder is challenged to show that it is alive.
local entry, size, source, id, sender, digest, front, client, key, nickname, newcomer, taken, used, cut_off =
  unpack(ARGV)

if not ack(entry, size) then return 0 end

local connection = connection_of(source)
local owner = owner_of(key)
local verdict, own_id = judge(source, sender, id, digest)
if not is_known(front) then
  -- The front was reaped meanwhile: a nickname given now would never be freed. If the front is alive and was only cut off,
  -- its client gets this answer.
  publish(source, 'refused', '', 'uncompliant', '', cut_off)
elseif owner == connection then
  remove_wish(connection)
  publish(source, verdict == 'duplicate' and 'duplicate' or 'done', '', 'newcomer', '', '')
elseif owner then
  wish(connection, key, nickname, id)
  challenge(owner, client)
  publish(source, 'refused', '', 'uncompliant', '', taken)
elseif verdict ~= 'new' then
  -- It was registered under this id before, and given up since.
  publish(source, 'refused', '', 'duplicate_id', '', used)
else
  remove_wish(connection)
  local key_before, before = nickname_of(connection)
  if before then
    announce_exit('', connection, key_before, before, uuid('exiter ' .. source))
  end
  set_nickname(connection, key, nickname)
  local place = publish(source, 'published', '', 'newcomer', own_id, under_id(newcomer, id, own_id))
  note_sender(source, sender, own_id, digest, place)
  grant(key_before)
end
return 1
