-- A front that has told all of its connections' ends goes, and nobody needs to look for it.
redis.call('ZREM', FRONTS, ARGV[1])
redis.call('HDEL', COUNTS, ARGV[1])
return 1
