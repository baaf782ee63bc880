-- Removes a dead front with its connections, and tells the channel. Each nickname takes the next of the given messages
-- (up to the nickname, as in give_up): ids cannot be made here. Returns how many more are needed; 0: all done.
local front, count_head = ARGV[1], ARGV[2]

if is_alive(front) or not is_known(front) then return 0 end

local addresses = addresses_of(front)
if #addresses > #ARGV - 2 then return #addresses end

for index, address in ipairs(addresses) do
  give_up('', address, ARGV[index + 2])
  redis.call('SADD', SWEPT, address)
end
-- Should the front come back, for it was only frozen or cut off, the channel is told so: see restore.
if #addresses > 0 then redis.call('EXPIRE', SWEPT, SWEPT_AGE) end
redis.call('ZREM', FRONTS, front)
if redis.call('HDEL', COUNTS, front) == 1 then publish_count('', count_head) end
return 0
