"""A Redis' data and what can be asked of it: only what gischat asks (see `gischat.broker.commands`), and strictly.

An unknown command, option or number of arguments is an error. Answers are ints, bytes, None, lists of them, `Status`.
The test of this model asks a real Valkey the same.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.redis_types import (
    WRONG_TYPE,
    Answer,
    SortedSet,
    Status,
    Stream,
    Value,
    copied,
    is_empty,
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


# Keys


@command("DEL", 1, MANY)
def _del(data: Data, keys: Arguments) -> int:
    return sum(data.drop(key) for key in keys if data.has(key))


@command("TYPE", 1)
def _type(data: Data, words: Arguments) -> Status:
    names = {bytes: b"string", dict: b"hash", list: b"list", set: b"set", SortedSet: b"zset", Stream: b"stream"}
    return Status(names[type(data.keys[words[0]])] if data.has(words[0]) else b"none")


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
    if options and (options[0] != b"PX" or len(options) != 2):
        raise Answer("ERR syntax error")
    if only_new and data.has(key):
        return None
    data.drop(key)
    data.keys[key] = bytes(value)
    if options:
        _expire_at(data, key, integer(options[1]))
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
