-- The fronts whose lease has run out.
return redis.call('ZRANGEBYSCORE', FRONTS, '-inf', milliseconds())
