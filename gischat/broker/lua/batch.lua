-- For scripts that run for many channels at once, after all else: KEYS are those of one channel after the other.

-- Calls a function for each channel. Returns its results; false for a channel with a key of a wrong type.
local function for_each_channel(run)
  local results = {}
  for first = 1, #KEYS, FIRST_CHUNK - 1 do
    INBOX, OUTBOX, OUTBOX_SIZES, COUNTERS, INBOX_BYTES, HISTORY, IDS, FRONTS, COUNTS, USERS, NICKNAMES, DEAD, REAPED,
      SENDERS, PLACES, WISHES, WISHERS, PROCESSES = unpack(KEYS, first, first + FIRST_CHUNK - 2)
    local is_right, result = pcall(run)
    if not is_right then
      local text = tostring(type(result) == 'table' and result.err or result)
      if not text:find('WRONGTYPE', 1, true) then error(result, 0) end
      result = false
    end
    table.insert(results, result)
  end
  return results
end
