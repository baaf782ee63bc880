-- Deletes a dead letter. Returns whether there was one with this entry id.
local letter = redis.call('XRANGE', DEAD, ARGV[1], ARGV[1])[1]
if not letter then return 0 end
discard(letter)
return 1
