-- Returns the stored messages, and the offset of the newest publication at that moment.
return { tonumber(redis.call('HGET', COUNTERS, 'published') or 0), history() }
