"""All Redis commands that gischat uses, each in a valid form; an ACL user needs permission for all of them.

Tests compare this list with the sources, with `deploy/redis/users.acl` and with `gischat check`.
"""

KEY = "<key>"  # stands for one of a channel's keys

# Commands that establish and check a connection; authentication needs no permission.
_CONNECTION = ("CLIENT SETNAME gischat", "SELECT 0", "PING")

# Commands for finding the nodes of a cluster; never sent to a single server.
CLUSTER_ONLY = ("CLUSTER SLOTS",)

# Commands that fronts, workers and bridges send.
_CALLS = (
    "EVAL script 0",
    "EVALSHA digest 0",
    f"EXPIRE {KEY} 1",
    f"GET {KEY}",
    f"HGETALL {KEY}",
    f"MGET {KEY}",
    "SCRIPT LOAD script",
    f"SET {KEY} value EX 1",
    f"TYPE {KEY}",
    f"XADD {KEY} * field value",
    f"XCLAIM {KEY} group consumer 0 0-1",
    f"XGROUP CREATE {KEY} group 0 MKSTREAM",
    f"XPENDING {KEY} group - + 1",
    f"XRANGE {KEY} - +",
    f"XREAD STREAMS {KEY} 0",
    f"XREADGROUP GROUP group consumer STREAMS {KEY} >",
    f"XREVRANGE {KEY} + -",
    f"ZADD {KEY} XX 0 member",
    f"ZRANGE {KEY} 0 -1",
)

# Commands in scripts.
_IN_SCRIPTS = (
    f"DECRBY {KEY} 1",
    f"DEL {KEY}",
    f"EXPIRE {KEY} 1",
    f"GET {KEY}",
    f"HDEL {KEY} field",
    f"HEXISTS {KEY} field",
    f"HGET {KEY} field",
    f"HGETALL {KEY}",
    f"HINCRBY {KEY} field 1",
    f"HKEYS {KEY}",
    f"HLEN {KEY}",
    f"HMGET {KEY} field",
    f"HSET {KEY} field value",
    f"INCRBY {KEY} 1",
    f"LINDEX {KEY} 0",
    f"LPOP {KEY}",
    f"LRANGE {KEY} 0 -1",
    f"LREM {KEY} 1 value",
    f"PERSIST {KEY}",
    f"PEXPIRE {KEY} 1",
    f"PTTL {KEY}",
    f"RPUSH {KEY} value",
    f"SADD {KEY} member",
    f"SREM {KEY} member",
    "TIME",
    f"TYPE {KEY}",
    f"XACK {KEY} group 0-1",
    f"XADD {KEY} * field value",
    f"XCLAIM {KEY} group consumer 0 0-1",
    f"XDEL {KEY} 0-1",
    f"XGROUP DELCONSUMER {KEY} group consumer",
    f"XINFO CONSUMERS {KEY} group",
    f"XLEN {KEY}",
    f"XPENDING {KEY} group - + 1",
    f"XRANGE {KEY} - +",
    f"XTRIM {KEY} MAXLEN = 1",
    f"ZADD {KEY} 0 member",
    f"ZCARD {KEY}",
    f"ZRANGE {KEY} 0 -1",
    f"ZRANGEBYLEX {KEY} - +",
    f"ZRANGEBYSCORE {KEY} 0 1",
    f"ZREM {KEY} member",
    f"ZREMRANGEBYRANK {KEY} 0 1",
    f"ZREMRANGEBYSCORE {KEY} 0 1",
    f"ZSCORE {KEY} member",
)

COMMANDS = tuple(sorted({*_CONNECTION, *CLUSTER_ONLY, *_CALLS, *_IN_SCRIPTS}))

_CONTAINERS = ("CLIENT", "CLUSTER", "SCRIPT", "XGROUP", "XINFO")  # commands with subcommands


def acl_name(command: str) -> str:
    """The name of a command in an ACL: `xadd`, `xgroup|create`."""
    first, *rest = command.split()
    return "|".join([first, rest[0]] if first in _CONTAINERS else [first]).lower()
