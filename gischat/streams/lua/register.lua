-- Gives a nickname to a connection, in place of the one that it had. One that another has it gets when it is free: its
-- wish is kept, and the other one is asked whether it is still there.
local entry, size, source, id, sender, digest, front, client, nickname, newcomer, taken, used, cut_off = unpack(ARGV)

if not take(entry, size) then return 0 end

local connection = connection_of(source)
local owner = owner_of(nickname)
local verdict, own_id = judge(source, sender, id, digest)
if not is_known(front) then
  -- It was swept meanwhile: a nickname given now would be a ghost. If it lives, for it was only cut off, its client is
  -- told.
  publish(source, 'refused', '', 'uncompliant', '', cut_off)
elseif owner == connection then
  forget_wish(connection)
  publish(source, verdict == 'repeated' and 'repeated' or 'done', '', 'newcomer', '', '')
elseif owner then
  wish(connection, nickname, id)
  challenge(owner, client)
  publish(source, 'refused', '', 'uncompliant', '', taken)
elseif verdict ~= 'new' then
  -- Registered once, and given up since.
  publish(source, 'refused', '', 'id_used', '', used)
else
  forget_wish(connection)
  local before = redis.call('HGET', ADDRESSES, connection)
  if before then unset_nickname(connection, before) end
  if before then
    local exiter_id = uuid('exiter ' .. source)
    publish('', 'published', '', 'exiter', exiter_id, announcement('exiter', exiter_id, before))
  end
  set_nickname(connection, nickname)
  local place = publish(source, 'published', '', 'newcomer', own_id, under_id(newcomer, id, own_id))
  note_sender(source, sender, own_id, digest, place)
  if before then grant(before) end
end
return 1
