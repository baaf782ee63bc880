-- Has the connection that is registered under a nickname closed by its front. Returns whether there is one.
local nickname, closing = unpack(ARGV)

if redis.call('HEXISTS', USERS, nickname) == 0 then return 0 end
order('disconnect', closing)
return 1
