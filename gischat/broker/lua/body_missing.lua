-- Ends a job whose body is missing: its sender is notified, unless this job was published before.
local entry, size, source, id, sender, kind, user_message = unpack(ARGV)

if not ack(entry, size) then return 0 end
local owner = is_duplicate(id) and (redis.call('HGET', SENDERS, id) or ''):match('^%S+ %S+ (%S+)')
if owner and owner == (sender ~= '' and sender or connection_of(source)) then
  publish(source, 'duplicate', '', kind, '', published_body(id) or '')
else
  publish(source, 'refused', '', 'uncompliant', '', user_message)
end
return 1
