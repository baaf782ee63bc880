-- Renews a front's lease in many channels. Returns, by channel, whether Redis knows the front (if not, it has lost the
-- front's state); the offset of the newest publication, by which the front detects lag; whether the lease had expired, so
-- that user counts did not include the front; the number of the front's connections and nicknames in Redis; and whether
-- somebody has found a damaged key (see find_damage).
-- `is_state_lost`: the front has detected a loss, and is about to send its state again; all other fronts are told before
-- that, because a front that was frozen during the loss cannot detect it by offsets.
-- `process`: the front's process identity, by which the next process on its machine detects that it has ended.
local front, lease, is_state_lost, process = unpack(ARGV)

-- A stored number, 0 if there is none. One that is damaged counts as a key of a wrong type: a nil would end the answer.
local function number(stored)
  return tonumber(stored or 0) or error('WRONGTYPE: not a number', 0)
end

return for_each_channel(function()
  local ends = redis.call('ZSCORE', FRONTS, front)
  redis.call('ZADD', FRONTS, milliseconds() + lease, front)
  redis.call('HSET', PROCESSES, front, process)
  redis.call('HSET', COUNTERS, follows_field(front), 1)
  if is_state_lost == '1' then
    redis.call('HSET', COUNTERS, 'lost_at', milliseconds())
    publish('', 'control', '', 'state_lost', '', '')
  end
  local published, broken = unpack(redis.call('HMGET', COUNTERS, 'published', 'broken'))
  local connections = number(redis.call('HGET', COUNTS, front))
  local had_expired = ends and tonumber(ends) <= milliseconds()
  return {
    ends and 1 or 0,
    number(published),
    had_expired and 1 or 0,
    connections,
    #connections_of(front),
    broken and 1 or 0,
  }
end)
