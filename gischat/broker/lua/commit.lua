-- Ends a job with one publication: acknowledges, publishes and stores, all or nothing. A duplicate is not published: its
-- sender gets the earlier publication, or why the message is refused. `located` is the message's place on the map, '' if it
-- has none. If authors have to be registered, `author` is the key of the author's nickname, and `not_yours` the answer to a
-- sender who is not registered under it while somebody else is.
local entry, size, source, id, sender, digest, outcome, kind, body, stored, located, used, not_yours, author =
  unpack(ARGV)

if not ack(entry, size) then return 0 end
local verdict, own_id = judge(source, sender, id, digest)
if verdict == 'duplicate' then
  publish(source, 'duplicate', '', kind, '', published_body(own_id) or under_id(body, id, own_id))
elseif verdict == 'used' then
  publish(source, 'refused', '', 'duplicate_id', '', used)
elseif not_yours and is_owned_by_other(source, author) then
  publish(source, 'refused', '', 'not_registered', '', not_yours)
else
  body = under_id(body, id, own_id)
  local place = publish(source, outcome, '', kind, own_id, body)
  note_sender(source, sender, own_id, digest, place)
  if stored == '1' then
    -- Each feature of the place contains the message's id.
    if id ~= own_id then located = located:gsub(id:gsub('%-', '%%-'), own_id) end
    store(body, own_id, located ~= '' and place .. ' ' .. located)
  end
end
return 1
