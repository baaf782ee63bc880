"""The values that a Redis holds, as far as gischat uses them; each can be copied, for a moment to come back to."""

import copy
import math
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field

Id = tuple[int, int]
ZERO: Id = (0, 0)
LAST: Id = (2**64 - 1, 2**64 - 1)


class Answer(Exception):
    """An error that Redis answers."""


class Status(bytes):
    """An answer in one word, such as OK."""


WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


class SortedSet:
    """Members by score, then by their bytes."""

    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}
        self.order: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self.order)

    def copy(self) -> "SortedSet":
        other = SortedSet()
        other.scores, other.order = self.scores.copy(), self.order.copy()
        return other

    def add(self, member: bytes, score: float) -> bool:
        """Whether it is new."""
        before = self.scores.get(member)
        if before is not None:
            del self.order[bisect_left(self.order, (before, member))]
        self.scores[member] = score
        insort(self.order, (score, member))
        return before is None

    def remove(self, member: bytes) -> bool:
        score = self.scores.pop(member, None)
        if score is None:
            return False
        del self.order[bisect_left(self.order, (score, member))]
        return True

    def by_score(self, least: bytes, most: bytes) -> list[bytes]:
        low, excludes_low = _bound(least)
        high, excludes_high = _bound(most)
        members = [member for score, member in self.order if low <= score <= high]
        return [
            member
            for member in members
            if not ((excludes_low and self.scores[member] == low) or (excludes_high and self.scores[member] == high))
        ]


def _bound(text: bytes) -> tuple[float, bool]:
    excludes = text.startswith(b"(")
    return number(text[excludes:]), excludes


def number(text: bytes) -> float:
    try:
        value = float(text)
    except ValueError:
        raise Answer("ERR min or max is not a float") from None
    if math.isnan(value):
        raise Answer("ERR value is not a valid float")
    return value


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


class Stream:
    """Entries by place."""

    def __init__(self) -> None:
        self.ids: list[Id] = []
        self.entries: dict[Id, list[bytes]] = {}
        self.last: Id = ZERO
        self.groups: dict[bytes, Group] = {}

    def copy(self) -> "Stream":
        other = Stream()
        other.ids, other.entries, other.last = self.ids.copy(), self.entries.copy(), self.last
        for name, group in self.groups.items():
            pending = {id: copy.copy(one) for id, one in group.pending.items()}
            other.groups[name] = Group(group.last, pending, group.consumers.copy())
        return other

    def add(self, id: Id, fields: list[bytes]) -> None:
        self.ids.append(id)
        self.entries[id] = fields
        self.last = id

    def remove(self, id: Id) -> bool:
        if self.entries.pop(id, None) is None:
            return False
        del self.ids[bisect_left(self.ids, id)]
        return True

    def trim(self, length: int) -> int:
        dropped = self.ids[: max(len(self.ids) - length, 0)]
        for id in dropped:
            del self.entries[id]
        del self.ids[: len(dropped)]
        return len(dropped)

    def between(self, first: Id, last: Id) -> list[Id]:
        return self.ids[bisect_left(self.ids, first) : bisect_right(self.ids, last)]

    def after(self, id: Id, count: int) -> list[Id]:
        place = bisect_right(self.ids, id)
        return self.ids[place : place + count]


def written(id: Id) -> bytes:
    return b"%d-%d" % id


def read_id(text: bytes, missing: int = 0) -> Id:
    """A place as it is written; `missing` stands for a second part that is not given."""
    if text == b"-":
        return ZERO
    if text == b"+":
        return LAST
    milliseconds, dash, sequence = text.partition(b"-")
    try:
        return int(milliseconds), int(sequence) if dash else missing
    except ValueError:
        raise Answer("ERR Invalid stream ID specified as stream command argument") from None


def range_ends(first: bytes, last: bytes) -> tuple[Id, Id]:
    """The ends of a range, of which `(` excludes one."""
    if first.startswith(b"("):
        milliseconds, sequence = read_id(first[1:])
        low = (milliseconds, sequence + 1)
    else:
        low = read_id(first)
    if last.startswith(b"("):
        milliseconds, sequence = read_id(last[1:])
        return low, (milliseconds, sequence - 1) if sequence else (milliseconds - 1, LAST[1])
    return low, read_id(last, LAST[1])


Value = bytes | dict[bytes, bytes] | list[bytes] | set[bytes] | SortedSet | Stream


def copied(value: Value) -> Value:
    return value if isinstance(value, bytes) else value.copy()


def is_empty(value: Value) -> bool:
    """Redis keeps no empty collections, but empty streams."""
    return not isinstance(value, bytes | Stream) and not len(value)
