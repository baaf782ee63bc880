-- Ends a job whose body is not there (any more): its sender is told, unless this very job has published it before.
local entry, size, source, id, sender, kind, told = unpack(ARGV)

if not ack(entry, size) then return 0 end
local who = is_duplicate(id) and (redis.call('HGET', SENDERS, id) or ''):match('^%S+ %S+ (%S+)')
if who and who == (sender ~= '' and sender or connection_of(source)) then
  publish(source, 'duplicate', '', kind, '', published_body(id) or '')
else
  publish(source, 'refused', '', 'uncompliant', '', told)
end
return 1
