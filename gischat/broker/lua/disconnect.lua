-- Orders the front of a nickname's connection to close it. Returns whether the nickname is registered.
local key, closing = unpack(ARGV)

if redis.call('HEXISTS', USERS, key) == 0 then return 0 end
control('disconnect', closing)
return 1
