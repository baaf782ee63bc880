-- What restricts the channel: the number of the last change, the freeze (JSON; empty where there is none) and the bans.
return { moderation_version(), redis.call('HGET', COUNTERS, 'frozen') or '', bans_that_hold() }
