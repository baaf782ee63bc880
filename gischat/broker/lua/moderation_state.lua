-- What restricts the channel: the number of the last change, the freeze (JSON; empty where there is none), the bans
-- and the keys.
return { moderation_version(), redis.call('HGET', COUNTERS, 'frozen') or '', that_hold(BANS), that_hold(ACCESS_KEYS) }
