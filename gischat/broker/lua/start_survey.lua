-- Asks every front who is connected to it. Returns the fronts that should answer.
control('survey', ARGV[1])
return redis.call('ZRANGEBYSCORE', FRONTS, milliseconds(), '+inf')
