"""A Redis' data and what can be asked of it: only what gischat asks (see `gischat.streams.commands`), and strictly.

An unknown command, option or number of arguments is an error. Answers are ints, bytes, None, lists of them, `Status`.
The test of this model asks a real Valkey the same.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.redis_types import (
    WRONG_TYPE,
    Answer,
    SortedSet,
    Status,
    Value,
    copied,
    is_empty,
    number,
)

Arguments = Sequence[bytes]
Command = Callable[["Data", Arguments], Any]
COMMANDS: dict[bytes, tuple[Command, int, int]] = {}  # with the least and the greatest number of arguments
OK = Status(b"OK")
MANY = 10**9


def command(name: str, least: int, most: int | None = None) -> Callable[[Command], Command]:
    def register(function: Command) -> Command:
        COMMANDS[name.encode()] = (function, least, least if most is None else most)
        return function

    return register


class Data:
    """The keys of one Redis. `clock` gives the milliseconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.keys: dict[bytes, Value] = {}
        self.expires: dict[bytes, int] = {}
        self.touched: set[bytes] = set()  # streams that were added to, or have gone, since the blocked were served

    def copy(self) -> "Data":
        other = Data(self.clock)
        other.keys = {key: copied(value) for key, value in self.keys.items()}
        other.expires = self.expires.copy()
        return other

    def now(self) -> int:
        return int(self.clock())

    def ask(self, words: Sequence[bytes]) -> Any:
        """Carries a command out.

        Raises:
            Answer: an error.
        """
        name = words[0].upper()
        found = COMMANDS.get(name)
        if found is None:
            raise Answer(f"ERR unknown command '{words[0].decode()}'")
        function, least, most = found
        if not least <= len(words) - 1 <= most:
            raise Answer(f"ERR wrong number of arguments for '{name.decode().lower()}' command")
        return function(self, words[1:])

    def get(self, key: bytes, kind: type) -> Any:
        """The value of a key, None where there is none."""
        ends = self.expires.get(key)
        if ends is not None and ends <= self.now():
            self.drop(key)
        value = self.keys.get(key)
        if value is not None and type(value) is not kind:
            raise Answer(WRONG_TYPE)
        return value

    def has(self, key: bytes) -> bool:
        ends = self.expires.get(key)
        if ends is not None and ends <= self.now():
            self.drop(key)
        return key in self.keys

    def made(self, key: bytes, kind: type) -> Any:
        """The value of a key, made where there is none."""
        value = self.get(key, kind)
        if value is None:
            value = self.keys[key] = kind()
        return value

    def drop(self, key: bytes) -> bool:
        self.expires.pop(key, None)
        self.touched.add(key)
        return self.keys.pop(key, None) is not None

    def tidy(self, key: bytes, value: Value) -> None:
        if is_empty(value):
            self.drop(key)

    def flush(self) -> None:
        self.touched.update(self.keys)
        self.keys.clear()
        self.expires.clear()


def integer(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise Answer("ERR value is not an integer or out of range") from None


def shown(score: float) -> bytes:
    return b"%d" % score if score == int(score) else repr(score).encode()


# Keys


@command("DEL", 1, MANY)
def _del(data: Data, keys: Arguments) -> int:
    return sum(data.drop(key) for key in keys if data.has(key))


@command("EXISTS", 1)
def _exists(data: Data, words: Arguments) -> int:
    return int(data.has(words[0]))


def _expire_at(data: Data, key: bytes, milliseconds: int) -> int:
    if not data.has(key):
        return 0
    data.expires[key] = data.now() + milliseconds
    return 1


@command("EXPIRE", 2)
def _expire(data: Data, words: Arguments) -> int:
    return _expire_at(data, words[0], integer(words[1]) * 1000)


@command("PEXPIRE", 2)
def _pexpire(data: Data, words: Arguments) -> int:
    return _expire_at(data, words[0], integer(words[1]))


@command("PERSIST", 1)
def _persist(data: Data, words: Arguments) -> int:
    return int(data.has(words[0]) and data.expires.pop(words[0], None) is not None)


@command("PTTL", 1)
def _pttl(data: Data, words: Arguments) -> int:
    if not data.has(words[0]):
        return -2
    ends = data.expires.get(words[0])
    return -1 if ends is None else ends - data.now()


@command("TIME", 0)
def _time(data: Data, words: Arguments) -> list[bytes]:
    now = data.clock()
    return [b"%d" % (now // 1000), b"%d" % (now % 1000 * 1000)]


# Strings


@command("GET", 1)
def _get(data: Data, words: Arguments) -> bytes | None:
    value: bytes | None = data.get(words[0], bytes)
    return value


@command("MGET", 1, MANY)
def _mget(data: Data, keys: Arguments) -> list[bytes | None]:
    values = [data.keys.get(key) if data.has(key) else None for key in keys]
    return [value if isinstance(value, bytes) else None for value in values]


@command("SET", 2, 5)
def _set(data: Data, words: Arguments) -> Status | None:
    key, value, *options = words
    options = [option.upper() for option in options]
    only_new = b"NX" in options
    if only_new:
        options.remove(b"NX")
    if options and (options[0] != b"EX" or len(options) != 2):
        raise Answer("ERR syntax error")
    if only_new and data.has(key):
        return None
    data.drop(key)
    data.keys[key] = bytes(value)
    if options:
        _expire_at(data, key, integer(options[1]) * 1000)
    return OK


def _increase(data: Data, key: bytes, by: int) -> int:
    value = integer(data.get(key, bytes) or b"0") + by
    data.keys[key] = b"%d" % value
    return value


@command("INCRBY", 2)
def _incrby(data: Data, words: Arguments) -> int:
    return _increase(data, words[0], integer(words[1]))


@command("DECRBY", 2)
def _decrby(data: Data, words: Arguments) -> int:
    return _increase(data, words[0], -integer(words[1]))


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


@command("ZADD", 3, 4)
def _zadd(data: Data, words: Arguments) -> int:
    key, *rest = words
    only_old = rest[0].upper() == b"XX"
    score, member = rest[only_old:]
    value = number(score)
    if only_old:
        found = data.get(key, SortedSet)
        if found is not None and member in found.scores:
            found.add(member, value)
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
