-- Publishes a survey request to every front. Returns the fronts that should answer.
control('survey', ARGV[1])
return redis.call('ZRANGEBYSCORE', FRONTS, milliseconds(), '+inf')
