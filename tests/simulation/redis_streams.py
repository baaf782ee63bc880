"""The commands of streams. A read that waits is served by the server, which asks again."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple, Self

from tests.simulation.redis_types import FIRST, LAST, OK, Answer, Group, Id, Keys, Pending, Status, Stream, integer


class Read(NamedTuple):
    """The arguments of XREAD and XREADGROUP."""

    count: int | None
    block: int | None  # milliseconds
    streams: list[tuple[bytes, bytes]]  # keys and places

    @classmethod
    def of(cls, words: Sequence[bytes]) -> Self:
        middle = words.index(b"STREAMS")
        head, rest = words[:middle], words[middle + 1 :]
        count, block = (integer(head[head.index(name) + 1]) if name in head else None for name in (b"COUNT", b"BLOCK"))
        half = len(rest) // 2
        return cls(count, block, list(zip(rest[:half], rest[half:], strict=True)))


class Streams(Keys):
    def do_xadd(self, key: bytes, *words: bytes) -> bytes:
        longest = None
        if words[:2] == (b"MAXLEN", b"~"):
            longest, words = words[2], words[3:]
        place, *fields = words
        assert place == b"*", words
        stream = self.made(key, Stream)
        stream.last = max((self.now(), 0), (stream.last[0], stream.last[1] + 1))
        stream.entries[stream.last] = fields
        if longest is not None:
            _trim(stream, integer(longest))
        self.touched.add(key)
        return _written(stream.last)

    def do_xlen(self, key: bytes) -> int:
        return len(self.read(key, Stream).entries)

    def do_xdel(self, key: bytes, place: bytes) -> int:
        return int(self.read(key, Stream).entries.pop(_id(place), None) is not None)

    def do_xtrim(self, key: bytes, how: bytes, sign: bytes, length: bytes) -> int:
        assert (how, sign) == (b"MAXLEN", b"=")
        return _trim(self.read(key, Stream), integer(length))

    def do_xrange(self, key: bytes, first: bytes, last: bytes, *count: bytes) -> list[Any]:
        stream = self.read(key, Stream)
        low, high = _ends(first, last)
        return _shown(stream, islice((id for id in stream.entries if low <= id <= high), _count(count)))

    def do_xrevrange(self, key: bytes, last: bytes, first: bytes, *count: bytes) -> list[Any]:
        stream = self.read(key, Stream)
        low, high = _ends(first, last)
        return _shown(stream, islice((id for id in reversed(stream.entries) if low <= id <= high), _count(count)))

    def _group(self, key: bytes, name: bytes, missing: str = "") -> tuple[Stream, Group]:
        """The group; `missing` is the error of this command where there is no key."""
        stream = self.get(key, Stream)
        if stream is None and missing:
            raise Answer(missing)
        if stream is None or name not in stream.groups:
            raise Answer(f"NOGROUP No such key '{key.decode()}' or consumer group '{name.decode()}'")
        return stream, stream.groups[name]

    def do_xgroup(self, what: bytes, key: bytes, name: bytes, *rest: bytes) -> Status | int:
        missing = "ERR The XGROUP subcommand requires the key to exist."
        if what == b"DELCONSUMER":
            (consumer,) = rest
            _, group = self._group(key, name, missing)
            lost = [id for id, pending in group.pending.items() if pending.consumer == consumer]
            for id in lost:
                del group.pending[id]
            group.consumers.pop(consumer, None)
            return len(lost)
        assert what == b"CREATE"
        place, *options = rest
        stream = self.made(key, Stream) if options == [b"MKSTREAM"] else self.get(key, Stream)
        if stream is None:
            raise Answer(missing)
        if name in stream.groups:
            raise Answer("BUSYGROUP Consumer Group name already exists")
        stream.groups[name] = Group(stream.last if place == b"$" else _id(place))
        return OK

    def do_xinfo(self, what: bytes, key: bytes, name: bytes) -> list[list[Any]]:
        assert what == b"CONSUMERS"
        _, group = self._group(key, name, "ERR no such key")
        held = [pending.consumer for pending in group.pending.values()]
        now = self.now()
        return [
            [b"name", name, b"pending", held.count(name), b"idle", now - seen, b"inactive", now - seen]
            for name, seen in sorted(group.consumers.items())
        ]

    def do_xack(self, key: bytes, name: bytes, place: bytes) -> int:
        group = self.read(key, Stream).groups.get(name)
        return int(group is not None and group.pending.pop(_id(place), None) is not None)

    def do_xpending(self, key: bytes, name: bytes, *words: bytes) -> list[list[Any]]:
        _, group = self._group(key, name)
        idle = 0
        if words[0] == b"IDLE":
            idle, words = integer(words[1]), words[2:]
        first, last, count, *consumer = words
        low, high = _ends(first, last)
        now = self.now()
        found = [
            [_written(id), pending.consumer, now - pending.delivered_at, pending.times]
            for id, pending in sorted(group.pending.items())
            if low <= id <= high and now - pending.delivered_at >= idle and consumer in ([], [pending.consumer])
        ]
        return found[: integer(count)]

    def do_xclaim(self, key: bytes, name: bytes, consumer: bytes, least_idle: bytes, *words: bytes) -> list[Any]:
        stream, group = self._group(key, name)
        ids = [_id(word) for word in words if b"-" in word]
        options = words[len(ids) :]
        now = self.now()
        group.consumers[consumer] = now
        claimed = []
        for id in ids:
            if id not in stream.entries:
                group.pending.pop(id, None)
                continue
            if id not in group.pending and b"FORCE" in options:
                group.pending[id] = Pending(consumer, 0, 0)
            pending = group.pending.get(id)
            if pending is None or now - pending.delivered_at < integer(least_idle):
                continue
            pending.consumer, pending.delivered_at = consumer, now
            if b"RETRYCOUNT" in options:
                pending.times = integer(options[options.index(b"RETRYCOUNT") + 1])
            elif b"JUSTID" not in options:
                pending.times += 1
            claimed.append(id)
        return [_written(id) for id in claimed] if b"JUSTID" in options else _shown(stream, claimed)

    def do_xread(self, *words: bytes) -> list[Any] | None:
        read, found = Read.of(words), []
        for key, place in read.streams:
            stream, after = self.read(key, Stream), _id(place)
            if ids := list(islice((id for id in stream.entries if id > after), read.count)):
                found.append([key, _shown(stream, ids)])
        return found or None

    def do_xreadgroup(self, _: bytes, name: bytes, consumer: bytes, *words: bytes) -> list[Any] | None:
        read, found = Read.of(words), []
        groups = [(key, *self._group(key, name)) for key, _ in read.streams]
        now = self.now()
        for key, stream, group in groups:
            group.consumers[consumer] = now
            if ids := list(islice((id for id in stream.entries if id > group.last), read.count)):
                group.pending |= {id: Pending(consumer, now, 1) for id in ids}
                group.last = ids[-1]
                found.append([key, _shown(stream, ids)])
        return found or None


def _shown(stream: Stream, ids: Any) -> list[Any]:
    return [[_written(id), stream.entries[id]] for id in ids]


def _trim(stream: Stream, length: int) -> int:
    dropped = list(stream.entries)[: max(len(stream.entries) - length, 0)]
    for id in dropped:
        del stream.entries[id]
    return len(dropped)


def _count(words: tuple[bytes, ...]) -> int | None:
    assert words[:1] in ((), (b"COUNT",)), words
    return integer(words[1]) if words else None


def _written(id: Id) -> bytes:
    return b"%d-%d" % id


def _id(text: bytes, missing: int = 0) -> Id:
    """A place as it is written; `missing` stands for a second part that is not given."""
    milliseconds, dash, sequence = text.partition(b"-")
    return int(milliseconds), int(sequence) if dash else missing


def _ends(first: bytes, last: bytes) -> tuple[Id, Id]:
    return _end(first, 1), _end(last, -1, LAST[1])


def _end(text: bytes, inwards: int, missing: int = 0) -> Id:
    """An end of a range, which `(` excludes."""
    if text.startswith(b"("):
        milliseconds, sequence = _id(text[1:])
        return milliseconds, sequence + inwards
    return {b"-": FIRST, b"+": LAST}.get(text) or _id(text, missing)
