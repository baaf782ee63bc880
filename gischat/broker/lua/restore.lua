-- Restores a nickname that its front knows and Redis has lost. It is 'published' if the front was reaped, because the
-- channel was told its exit; otherwise 'restored', which fronts send only to clients that were told an exit (lost jobs may
-- be repeated in another order, and end with an earlier connection's exit). If another connection has registered the
-- nickname meanwhile, the former holder is told, and gets it back when it is free.
local entry, size, source, id, front, key, nickname, newcomer_id, taken = unpack(ARGV)

if not ack(entry, size) then return 0 end
local connection = connection_of(source)
if is_duplicate(id) then
  -- Enqueued twice, because an answer was lost; the connection may have ended meanwhile.
  publish(source, 'duplicate', '', 'restore', '', '')
  return 1
end
record_id(id)
local owner = owner_of(key)
if owner and owner ~= connection then
  wish(connection, key, nickname, newcomer_id)
  publish(source, 'refused', '', 'uncompliant', '', taken)
  return 1
end
if owner or redis.call('HEXISTS', NICKNAMES, connection) == 1 or not is_known(front) then
  publish(source, 'done', '', 'restore', '', '')
  return 1
end
set_nickname(connection, key, nickname)
local outcome = redis.call('SREM', REAPED, connection) == 1 and 'published' or 'restored'
publish(source, outcome, '', 'newcomer', '', announcement('newcomer', newcomer_id, nickname))
return 1
