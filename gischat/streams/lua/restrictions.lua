-- What restricts the channel: the number of the last change, the freeze (JSON; empty where there is none) and the bans.
return { restrictions_version(), redis.call('HGET', METERS, 'frozen') or '', bans_that_hold() }
