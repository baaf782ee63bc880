"""The values that a Redis holds, as far as gischat uses them (others are bytes, dict, list and set), and its keys."""

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

Id = tuple[int, int]
FIRST, LAST = (0, 0), (2**64 - 1, 2**64 - 1)


class Answer(Exception):
    """An error that Redis answers."""


class Status(bytes):
    """An answer in one word, such as OK."""


OK = Status(b"OK")


class SortedSet(dict[bytes, float]):
    """Scores by member."""

    def ordered(self) -> list[bytes]:
        return sorted(self, key=lambda member: (self[member], member))

    def between(self, least: bytes, most: bytes) -> list[bytes]:
        low, high = _bound(least, math.inf), _bound(most, -math.inf)
        return [member for member in self.ordered() if low <= self[member] <= high]


def _bound(text: bytes, towards: float) -> float:
    """A bound of scores, which `(` excludes."""
    return math.nextafter(float(text[1:]), towards) if text.startswith(b"(") else float(text)


@dataclass(slots=True)
class Pending:
    """An entry that was delivered and not acknowledged."""

    consumer: bytes
    delivered_at: int
    times: int


@dataclass(slots=True)
class Group:
    """A consumer group: how far it has read, what is pending, when each consumer was last seen."""

    last: Id
    pending: dict[Id, Pending] = field(default_factory=dict)
    consumers: dict[bytes, int] = field(default_factory=dict)


@dataclass(slots=True)
class Stream:
    """Entries by id, which only grow."""

    entries: dict[Id, list[bytes]] = field(default_factory=dict)
    last: Id = FIRST
    groups: dict[bytes, Group] = field(default_factory=dict)


class Keys:
    """The keys of one Redis. `clock` gives the milliseconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.keys: dict[bytes, Any] = {}
        self.expires: dict[bytes, int] = {}
        self.touched: set[bytes] = set()  # streams that were added to, or have gone, since the blocked were served

    def copy(self) -> Self:
        other = type(self)(self.clock)
        other.keys, other.expires = pickle.loads(pickle.dumps((self.keys, self.expires)))
        return other

    def now(self) -> int:
        return int(self.clock())

    def has(self, key: bytes) -> bool:
        if key in self.expires and self.expires[key] <= self.now():
            self.drop(key)
        return key in self.keys

    def get(self, key: bytes, kind: type) -> Any:
        """The value of a key, None where there is none."""
        value = self.keys[key] if self.has(key) else None
        if value is not None and type(value) is not kind:
            raise Answer("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value

    def read(self, key: bytes, kind: type) -> Any:
        """The value of a key, an empty one where there is none."""
        value = self.get(key, kind)
        return kind() if value is None else value

    def made(self, key: bytes, kind: type) -> Any:
        """The value of a key, made where there is none."""
        self.keys[key] = value = self.read(key, kind)
        return value

    def drop(self, key: bytes) -> bool:
        self.expires.pop(key, None)
        self.touched.add(key)
        return self.keys.pop(key, None) is not None

    def tidy(self, key: bytes) -> None:
        """Redis keeps no empty collections, but empty streams."""
        if not self.keys.get(key, True):
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
