-- Ends a job with one publication: acknowledge, publish and store, all or nothing. Where people have to be registered,
-- `not_yours` is what a sender is told who is not the author.
local entry, size, source, id, outcome, to, kind, body, stored, not_yours = unpack(ARGV)

if not take(entry, size) then return 0 end
if is_repeated(id) then
  publish(source, 'repeated', '', kind, '', '')
elseif not_yours and is_anothers(source, body) then
  publish(source, 'refused', '', 'uncompliant', '', not_yours)
else
  publish(source, outcome, to, kind, id, body)
  if stored == '1' then store(body) end
end
return 1
