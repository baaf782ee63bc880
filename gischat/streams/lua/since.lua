-- What was published to everyone after the message of this id; the history where that is not retained (any more), or too
-- much. Returns how many publications there are, whether nothing is missing, and the messages.
local id = ARGV[1]
local WITHDRAWN = KEYS[FIRST_OWN + 1]

local published = tonumber(redis.call('HGET', METERS, 'published') or 0)
local at = published_at(id)
-- What Redis had lost was said again, each front's part by itself: for a while, nothing stands where it stood.
local settled_at = tonumber(redis.call('HGET', METERS, 'lost_at') or 0) + SETTLING
if not at or at < settled_at then return { published, 0, history() } end

local withdrawn_to = tonumber(redis.call('HGET', METERS, 'withdrawn_to') or 0)
local is_any_withdrawn = redis.call('EXISTS', WITHDRAWN) == 1
local function is_withdrawn(field)
  return tonumber(field.number) <= withdrawn_to or is_any_withdrawn and redis.call('ZSCORE', WITHDRAWN, field.id)
end

-- The id was noted a moment after its entry was made: the search begins a little earlier.
local from = string.format('%d-0', at - 1000)
local is_found, bytes, bodies = false, 0, {}
while true do
  local entries = redis.call('XRANGE', OUTBOX, from, '+', 'COUNT', 100)
  if #entries == 0 then break end
  for _, entry in ipairs(entries) do
    local field = {}
    for index = 1, #entry[2], 2 do field[entry[2][index]] = entry[2][index + 1] end
    local is_for_everyone = field.outcome == 'granted'
      or field.outcome == 'published' and field.to == '' and field.type ~= 'nb_users'
    if is_found and is_for_everyone and not is_withdrawn(field) then
      bytes = bytes + #field.body
      if bytes > SINCE_BYTES then return { published, 0, history() } end
      table.insert(bodies, field.body)
    end
    is_found = is_found or field.id == id
    from = '(' .. entry[1]
  end
end
if not is_found then return { published, 0, history() } end
return { published, 1, bodies }
