-- Ends a job with one publication: acknowledge, publish and store, all or nothing.
local entry, size, source, id, outcome, to, kind, body, stored = unpack(ARGV)

if not take(entry, size) then return 0 end
if is_repeated(id) then
  publish(source, 'repeated', '', kind, '', '')
else
  publish(source, outcome, to, kind, id, body)
  if stored == '1' then store(body) end
end
return 1
