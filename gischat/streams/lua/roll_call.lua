-- Asks every front who is connected to it. Returns the fronts that should answer.
order('roll_call', ARGV[1])
return redis.call('ZRANGEBYSCORE', FRONTS, milliseconds(), '+inf')
