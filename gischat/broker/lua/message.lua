-- Returns a stored message; false if it is not stored (any more). Starts at the newest, which is requested most often.
local wanted = ARGV[1]
local BATCH = 16

local last = -1
while true do
  local batch = redis.call('LRANGE', HISTORY, last - BATCH + 1, last)
  for index = #batch, 1, -1 do
    if id_of(batch[index]) == wanted then return batch[index] end
  end
  if #batch < BATCH then return false end
  last = last - BATCH
end
