-- Has the connection that is registered under a nickname closed by its front. Returns whether there is one.
local key, closing = unpack(ARGV)

if redis.call('HEXISTS', USERS, key) == 0 then return 0 end
control('disconnect', closing)
return 1
