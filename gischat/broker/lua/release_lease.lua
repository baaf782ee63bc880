-- A front that has told all of its connections' ends goes, and nobody needs to look for it. If a nickname is left, its
-- lease runs out instead, and a worker reaps it: nobody else could ever free the nickname.
local front = ARGV[1]

if #connections_of(front) > 0 then return 0 end
redis.call('ZREM', FRONTS, front)
redis.call('HDEL', PROCESSES, front)
redis.call('HDEL', COUNTS, front)
return 1
