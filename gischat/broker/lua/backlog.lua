-- What waits in an inbox: jobs, bytes, the milliseconds since the oldest came; and the channel's dead letters.

-- Whether a worker holds it or not: what has ended is not in the stream any more.
local oldest = redis.call('XRANGE', INBOX, '-', '+', 'COUNT', 1)[1]
local age = oldest and math.max(milliseconds() - tonumber(oldest[1]:match('%d+')), 0) or 0
return {redis.call('XLEN', INBOX), tonumber(redis.call('GET', INBOX_BYTES) or 0), age, redis.call('XLEN', DEAD)}
