-- Ends a job whose body is not there (any more): its sender is told, unless another has published it.
local entry, size, source, id, kind, told = unpack(ARGV)

if not take(entry, size) then return 0 end
if is_repeated(id) then
  publish(source, 'repeated', '', kind, '', '')
else
  publish(source, 'refused', '', 'uncompliant', '', told)
end
return 1
