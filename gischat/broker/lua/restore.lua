-- A nickname that its front knows and Redis has lost: set again. The channel hears of it if it was told an exit: then the
-- front was reaped. (Or what was lost was done again, the exit of an earlier connection last: who has heard that one, the
-- fronts know.) Where somebody else took the nickname meanwhile, its former owner is told, and gets
-- it again when it is free.
local entry, size, source, id, front, key, nickname, newcomer_id, taken = unpack(ARGV)

if not ack(entry, size) then return 0 end
local address = connection_of(source)
if is_duplicate(id) then
  -- Enqueued twice, for an answer was lost: its connection may have gone meanwhile.
  publish(source, 'duplicate', '', 'restore', '', '')
  return 1
end
record_id(id)
local owner = owner_of(key)
if owner and owner ~= address then
  wish(address, key, nickname, newcomer_id)
  publish(source, 'refused', '', 'uncompliant', '', taken)
  return 1
end
if owner or redis.call('HEXISTS', NICKNAMES, address) == 1 or not is_known(front) then
  publish(source, 'done', '', 'restore', '', '')
  return 1
end
set_nickname(address, key, nickname)
local outcome = redis.call('SREM', REAPED, address) == 1 and 'published' or 'restored'
publish(source, outcome, '', 'newcomer', '', announcement('newcomer', newcomer_id, nickname))
return 1
