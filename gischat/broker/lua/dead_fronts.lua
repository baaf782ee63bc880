-- Returns the fronts whose lease has expired.
return redis.call('ZRANGEBYSCORE', FRONTS, '-inf', milliseconds())
