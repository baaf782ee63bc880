-- Returns the channel's moderation state: the version, the freeze (JSON; empty if it is not frozen), the bans and the keys
-- (JSON).
return { moderation_version(), redis.call('HGET', COUNTERS, 'frozen') or '', unexpired(BANS), unexpired(ACCESS_KEYS) }
