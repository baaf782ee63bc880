-- The stored messages, and how many publications there were when they were read.
return { tonumber(redis.call('HGET', COUNTERS, 'published') or 0), history() }
