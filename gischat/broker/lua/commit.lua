-- Ends a job with one publication: acknowledges, publishes and stores, all or nothing. A duplicate is not published: its
-- sender gets the earlier publication, or why the message is refused. `located` is the message's place on the map, '' if it
-- has none. If authors have to be registered, `author` is the key of the author's nickname, and `not_yours` the answer to a
-- sender who is not registered under it while somebody else is.
local entry, size, source, id, sender, digest, outcome, kind, body, stored, located, used, not_yours, author =
  unpack(ARGV)

-- Whether the chunks of a body are there, and all participants follow references; older versions would send them to clients.
local function is_referable(name, count)
  for index = 0, count - 1 do
    if redis.call('PTTL', chunk_key(name, index)) == -2 then return false end
  end
  for _, front in ipairs(redis.call('ZRANGE', FRONTS, 0, -1)) do
    if redis.call('HEXISTS', COUNTERS, follows_field(front)) == 0 then return false end
  end
  return true
end

local name, count = chunks_of(body)

local function refuse(reason, answer)
  publish(source, 'refused', '', reason, '', answer)
  if name then delete_body(name, count) end
end

if name and not is_referable(name, count) then return { err = 'UNREFERABLE' } end
if not ack(entry, size) then return 0 end
local verdict, own_id = judge(source, sender, id, digest)
if verdict == 'duplicate' then
  local earlier = published_body(own_id)
  publish(source, 'duplicate', '', kind, '', earlier or under_id(body, id, own_id))
  if name and earlier then delete_body(name, count) end
elseif verdict == 'used' then
  refuse('duplicate_id', used)
elseif not_yours and is_owned_by_other(source, author) then
  refuse('not_registered', not_yours)
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
