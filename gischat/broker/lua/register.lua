-- Gives a nickname to a connection, in place of the one that it had. One that another has it gets when it is free: its
-- wish is kept, and the other one is asked whether it is still there.
local entry, size, source, id, sender, digest, front, client, key, nickname, newcomer, taken, used, cut_off =
  unpack(ARGV)

if not ack(entry, size) then return 0 end

local connection = connection_of(source)
local owner = owner_of(key)
local verdict, own_id = judge(source, sender, id, digest)
if not is_known(front) then
  -- It was reaped meanwhile: a nickname given now would be a ghost. If it lives, for it was only cut off, its client is
  -- told.
  publish(source, 'refused', '', 'uncompliant', '', cut_off)
elseif owner == connection then
  forget_wish(connection)
  publish(source, verdict == 'duplicate' and 'duplicate' or 'done', '', 'newcomer', '', '')
elseif owner then
  wish(connection, key, nickname, id)
  challenge(owner, client)
  publish(source, 'refused', '', 'uncompliant', '', taken)
elseif verdict ~= 'new' then
  -- Registered once, and given up since.
  publish(source, 'refused', '', 'duplicate_id', '', used)
else
  forget_wish(connection)
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
