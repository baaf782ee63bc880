"""The commands of hashes, lists, sets and sorted sets: see `redis_data`."""

from bisect import bisect_left
from collections.abc import Sequence

from tests.simulation.redis_data import MANY, Arguments, Data, command, integer
from tests.simulation.redis_types import Answer, SortedSet, number

# Hashes


@command("HGET", 2)
def _hget(data: Data, words: Arguments) -> bytes | None:
    return (data.get(words[0], dict) or {}).get(words[1])


@command("HMGET", 2, MANY)
def _hmget(data: Data, words: Arguments) -> list[bytes | None]:
    found = data.get(words[0], dict) or {}
    return [found.get(name) for name in words[1:]]


@command("HGETALL", 1)
def _hgetall(data: Data, words: Arguments) -> list[bytes]:
    return [part for pair in (data.get(words[0], dict) or {}).items() for part in pair]


@command("HKEYS", 1)
def _hkeys(data: Data, words: Arguments) -> list[bytes]:
    return list(data.get(words[0], dict) or {})


@command("HEXISTS", 2)
def _hexists(data: Data, words: Arguments) -> int:
    return int(words[1] in (data.get(words[0], dict) or {}))


@command("HSET", 3, MANY)
def _hset(data: Data, words: Arguments) -> int:
    if len(words) % 2 == 0:
        raise Answer("ERR wrong number of arguments for 'hset' command")
    found = data.made(words[0], dict)
    before = len(found)
    found.update(zip(words[1::2], words[2::2], strict=True))
    return len(found) - before


@command("HDEL", 2, MANY)
def _hdel(data: Data, words: Arguments) -> int:
    found = data.get(words[0], dict)
    if found is None:
        return 0
    removed = sum(found.pop(name, None) is not None for name in words[1:])
    data.tidy(words[0], found)
    return removed


@command("HINCRBY", 3)
def _hincrby(data: Data, words: Arguments) -> int:
    by = integer(words[2])
    found = data.made(words[0], dict)
    try:
        value = int(found.get(words[1], b"0")) + by
    except ValueError:
        raise Answer("ERR hash value is not an integer") from None
    found[words[1]] = b"%d" % value
    return value


# Lists


@command("RPUSH", 2)
def _rpush(data: Data, words: Arguments) -> int:
    found = data.made(words[0], list)
    found.append(words[1])
    return len(found)


@command("LPOP", 1)
def _lpop(data: Data, words: Arguments) -> bytes | None:
    found = data.get(words[0], list)
    if found is None:
        return None
    first: bytes = found.pop(0)
    data.tidy(words[0], found)
    return first


@command("LINDEX", 2)
def _lindex(data: Data, words: Arguments) -> bytes | None:
    found = data.get(words[0], list) or []
    place = integer(words[1])
    return found[place] if -len(found) <= place < len(found) else None


@command("LRANGE", 3)
def _lrange(data: Data, words: Arguments) -> list[bytes]:
    found = data.get(words[0], list) or []
    return found[_slice(words[1:], len(found))]  # type: ignore[no-any-return]


@command("LREM", 3)
def _lrem(data: Data, words: Arguments) -> int:
    found = data.get(words[0], list)
    if integer(words[1]) != 1:
        raise Answer("ERR this model removes the first one only")
    if found is None or words[2] not in found:
        return 0
    found.remove(words[2])
    data.tidy(words[0], found)
    return 1


def _slice(words: Arguments, length: int) -> slice:
    first, last = (place + length if place < 0 else place for place in map(integer, words[:2]))
    return slice(max(first, 0), max(last + 1, 0))


# Sets


@command("SADD", 2)
def _sadd(data: Data, words: Arguments) -> int:
    found = data.made(words[0], set)
    before = len(found)
    found.add(words[1])
    return len(found) - before


@command("SREM", 2)
def _srem(data: Data, words: Arguments) -> int:
    found = data.get(words[0], set)
    if found is None or words[1] not in found:
        return 0
    found.remove(words[1])
    data.tidy(words[0], found)
    return 1


# Sorted sets


@command("ZCARD", 1)
def _zcard(data: Data, words: Arguments) -> int:
    return len(data.get(words[0], SortedSet) or ())


@command("ZADD", 3, 4)
def _zadd(data: Data, words: Arguments) -> int:
    key, *rest = words
    only_old, only_new = rest[0].upper() == b"XX", rest[0].upper() == b"NX"
    score, member = rest[only_old or only_new :]
    value = number(score)
    if only_old:
        found = data.get(key, SortedSet)
        if found is not None and member in found.scores:
            found.add(member, value)
        return 0
    if only_new and member in data.made(key, SortedSet).scores:
        return 0
    return int(data.made(key, SortedSet).add(member, value))


@command("ZSCORE", 2)
def _zscore(data: Data, words: Arguments) -> bytes | None:
    found = data.get(words[0], SortedSet)
    score = found.scores.get(words[1]) if found is not None else None
    return None if score is None else shown(score)


@command("ZRANGE", 3, 4)
def _zrange(data: Data, words: Arguments) -> list[bytes]:
    found = data.get(words[0], SortedSet) or SortedSet()
    if len(words) == 4 and words[3].upper() != b"WITHSCORES":
        raise Answer("ERR syntax error")
    chosen = found.order[_slice(words[1:], len(found))]
    if len(words) == 4:
        return [part for score, member in chosen for part in (member, shown(score))]
    return [member for _, member in chosen]


@command("ZRANGEBYSCORE", 3)
def _zrangebyscore(data: Data, words: Arguments) -> list[bytes]:
    found = data.get(words[0], SortedSet)
    return [] if found is None else found.by_score(words[1], words[2])


@command("ZRANGEBYLEX", 6)
def _zrangebylex(data: Data, words: Arguments) -> list[bytes]:
    key, low, high, limit, first, count = words
    if low[:1] != b"[" or high[:1] != b"(" or limit.upper() != b"LIMIT":
        raise Answer("ERR this model knows [ ( LIMIT only")
    found = data.get(key, SortedSet) or SortedSet()
    order = [member for _, member in found.order]
    chosen = order[bisect_left(order, low[1:]) : bisect_left(order, high[1:])]
    return chosen[integer(first) : integer(first) + integer(count)]


@command("ZREM", 2, MANY)
def _zrem(data: Data, words: Arguments) -> int:
    found = data.get(words[0], SortedSet)
    if found is None:
        return 0
    removed = sum(found.remove(member) for member in words[1:])
    data.tidy(words[0], found)
    return removed


def _remove(data: Data, key: bytes, found: SortedSet | None, members: Sequence[bytes]) -> int:
    if found is None:
        return 0
    for member in members:
        found.remove(member)
    data.tidy(key, found)
    return len(members)


@command("ZREMRANGEBYSCORE", 3)
def _zremrangebyscore(data: Data, words: Arguments) -> int:
    found = data.get(words[0], SortedSet)
    return _remove(data, words[0], found, [] if found is None else found.by_score(words[1], words[2]))


@command("ZREMRANGEBYRANK", 3)
def _zremrangebyrank(data: Data, words: Arguments) -> int:
    found = data.get(words[0], SortedSet)
    if found is None:
        return 0
    return _remove(data, words[0], found, [member for _, member in found.order[_slice(words[1:], len(found))]])


def shown(score: float) -> bytes:
    return b"%d" % score if score == int(score) else repr(score).encode()


@command("HLEN", 1)
def _hlen(data: Data, words: Arguments) -> int:
    return len(data.get(words[0], dict) or {})
