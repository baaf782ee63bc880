-- Ends the lease of a front that has reported the end of all its connections. If a nickname is left, the lease expires
-- instead, and a worker reaps the front: nothing else would free the nickname.
local front = ARGV[1]

if #connections_of(front) > 0 then return 0 end
redis.call('ZREM', FRONTS, front)
redis.call('HDEL', PROCESSES, front)
redis.call('HDEL', COUNTERS, follows_field(front))
redis.call('HDEL', COUNTS, front)
return 1
