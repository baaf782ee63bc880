-- A job that cannot be done goes to the dead letters, and its sender is told.
local entry, size, source, kind, id, body, reason, told = unpack(ARGV)

if not take(entry, size) then return 0 end
redis.call('XADD', DEAD, 'MAXLEN', '=', DEAD_LETTERS, '*',
  'source', source, 'type', kind, 'id', id, 'body', body, 'reason', reason)
publish(source, 'buried', '', 'uncompliant', told)
return 1
