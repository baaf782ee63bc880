"""The commands of streams: see `redis_data`. A read that waits is served by the server, which asks again."""

from typing import Any

from tests.simulation.redis_data import MANY, OK, Arguments, Data, command, integer
from tests.simulation.redis_types import (
    Answer,
    Group,
    Id,
    Pending,
    Status,
    Stream,
    range_ends,
    read_id,
    written,
)

Entries = list[list[Any]]


def _shown(stream: Stream, ids: list[Id]) -> Entries:
    return [[written(id), stream.entries[id]] for id in ids]


def _group(data: Data, key: bytes, name: bytes, what: str = "", missing: str = "") -> tuple[Stream, Group]:
    """The group; `what` and `missing` end the words, or are them, of what is answered when there is none."""
    stream = data.get(key, Stream)
    if stream is None and missing:
        raise Answer(missing)
    group = stream.groups.get(name) if stream is not None else None
    if group is None:
        raise Answer(f"NOGROUP No such key '{key.decode()}' or consumer group '{name.decode()}'{what}")
    return stream, group


@command("XADD", 4, MANY)
def _xadd(data: Data, words: Arguments) -> bytes:
    key, *rest = words
    most = None
    if rest[0].upper() == b"MAXLEN":
        if rest[1] != b"~":
            raise Answer("ERR this model knows MAXLEN ~ only")
        most, rest = integer(rest[2]), rest[3:]
    place, *fields = rest
    if place != b"*" or not fields or len(fields) % 2:
        raise Answer("ERR wrong number of arguments for 'xadd' command")
    stream = data.made(key, Stream)
    now = data.now()
    id = (now, 0) if (now, 0) > stream.last else (stream.last[0], stream.last[1] + 1)
    stream.add(id, fields)
    if most is not None:
        stream.trim(most)
    data.touched.add(key)
    return written(id)


@command("XLEN", 1)
def _xlen(data: Data, words: Arguments) -> int:
    stream = data.get(words[0], Stream)
    return 0 if stream is None else len(stream.ids)


@command("XDEL", 2)
def _xdel(data: Data, words: Arguments) -> int:
    stream = data.get(words[0], Stream)
    return 0 if stream is None else int(stream.remove(read_id(words[1])))


@command("XTRIM", 4)
def _xtrim(data: Data, words: Arguments) -> int:
    key, how, sign, length = words
    if how.upper() != b"MAXLEN" or sign != b"=":
        raise Answer("ERR this model knows MAXLEN = only")
    stream = data.get(key, Stream)
    if integer(length) < 0:
        raise Answer("ERR The MAXLEN argument must be >= 0.")
    return 0 if stream is None else stream.trim(integer(length))


def _count(words: Arguments) -> int:
    if not words:
        return MANY
    if words[0].upper() != b"COUNT":
        raise Answer("ERR syntax error")
    return integer(words[1])


@command("XRANGE", 3, 5)
def _xrange(data: Data, words: Arguments) -> Entries:
    stream = data.get(words[0], Stream)
    ends = range_ends(words[1], words[2])
    return [] if stream is None else _shown(stream, stream.between(*ends)[: _count(words[3:])])


@command("XREVRANGE", 3, 5)
def _xrevrange(data: Data, words: Arguments) -> Entries:
    stream = data.get(words[0], Stream)
    ends = range_ends(words[2], words[1])
    return [] if stream is None else _shown(stream, stream.between(*ends)[::-1][: _count(words[3:])])


@command("XGROUP", 3, 6)
def _xgroup(data: Data, words: Arguments) -> Status | int:
    what, key, name, *rest = words
    if what.upper() == b"CREATE":
        if rest[1:] and rest[1].upper() != b"MKSTREAM":
            raise Answer("ERR syntax error")
        stream = data.made(key, Stream) if rest[1:] else data.get(key, Stream)
        if stream is None:
            raise Answer("ERR The XGROUP subcommand requires the key to exist.")
        if name in stream.groups:
            raise Answer("BUSYGROUP Consumer Group name already exists")
        stream.groups[name] = Group(stream.last if rest[0] == b"$" else read_id(rest[0]))
        return OK
    if what.upper() != b"DELCONSUMER":
        raise Answer("ERR unknown subcommand")
    _, group = _group(data, key, name, missing="ERR The XGROUP subcommand requires the key to exist.")
    lost = [id for id, pending in group.pending.items() if pending.consumer == rest[0]]
    for id in lost:
        del group.pending[id]
    group.consumers.pop(rest[0], None)
    return len(lost)


@command("XINFO", 3)
def _xinfo(data: Data, words: Arguments) -> list[list[Any]]:
    _, group = _group(data, words[1], words[2], missing="ERR no such key")
    if words[0].upper() != b"CONSUMERS":
        raise Answer("ERR unknown subcommand")
    held = [pending.consumer for pending in group.pending.values()]
    now = data.now()
    return [
        [b"name", name, b"pending", held.count(name), b"idle", now - seen, b"inactive", now - seen]
        for name, seen in sorted(group.consumers.items())
    ]


@command("XACK", 3)
def _xack(data: Data, words: Arguments) -> int:
    stream = data.get(words[0], Stream)
    group = stream.groups.get(words[1]) if stream is not None else None
    id = read_id(words[2])
    return 0 if group is None else int(group.pending.pop(id, None) is not None)


@command("XPENDING", 2, 8)
def _xpending(data: Data, words: Arguments) -> list[list[Any]]:
    key, name, *rest = words
    _, group = _group(data, key, name)
    idle = 0
    if rest and rest[0].upper() == b"IDLE":
        idle, rest = integer(rest[1]), rest[2:]
    if len(rest) not in (3, 4):
        raise Answer("ERR syntax error")
    low, high = range_ends(rest[0], rest[1])
    now = data.now()
    found = [
        (id, pending)
        for id, pending in sorted(group.pending.items())
        if low <= id <= high and now - pending.delivered_at >= idle and rest[3:] in ([], [pending.consumer])
    ]
    return [
        [written(id), pending.consumer, now - pending.delivered_at, pending.times]
        for id, pending in found[: integer(rest[2])]
    ]


@command("XCLAIM", 5, MANY)
def _xclaim(data: Data, words: Arguments) -> list[Any]:
    key, name, consumer, least_idle, *rest = words
    stream, group = _group(data, key, name)
    ids = [read_id(word) for word in rest if b"-" in word]
    options = [word.upper() for word in rest[len(ids) :]]
    forces, just_id = b"FORCE" in options, b"JUSTID" in options
    times = integer(options[options.index(b"RETRYCOUNT") + 1]) if b"RETRYCOUNT" in options else None
    now = data.now()
    group.consumers[consumer] = now
    claimed = []
    for id in ids:
        pending = group.pending.get(id)
        if id not in stream.entries:
            group.pending.pop(id, None)
            continue
        if pending is None:
            if not forces:
                continue
            pending = group.pending[id] = Pending(consumer, 0, 0)
        elif now - pending.delivered_at < integer(least_idle):
            continue
        pending.consumer, pending.delivered_at = consumer, now
        if times is not None:
            pending.times = times
        elif not just_id:
            pending.times += 1
        claimed.append(id)
    return [written(id) for id in claimed] if just_id else _shown(stream, claimed)


# Reads; `block` gives the milliseconds that one waits when there is nothing, None for none


def block_of(words: Arguments) -> int | None:
    upper = [word.upper() for word in words[: words.index(b"STREAMS")]]
    return integer(words[upper.index(b"BLOCK") + 1]) if b"BLOCK" in upper else None


def streams_of(words: Arguments) -> tuple[list[bytes], list[bytes]]:
    """Keys and places."""
    rest = list(words[words.index(b"STREAMS") + 1 :])
    half = len(rest) // 2
    if len(rest) != 2 * half:
        raise Answer("ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.")
    return rest[:half], rest[half:]


def _count_of(words: Arguments) -> int:
    upper = [word.upper() for word in words[: words.index(b"STREAMS")]]
    return integer(words[upper.index(b"COUNT") + 1]) if b"COUNT" in upper else MANY


@command("XREAD", 3, MANY)
def _xread(data: Data, words: Arguments) -> list[Any] | None:
    count, found = _count_of(words), []
    for key, place in zip(*streams_of(words), strict=True):
        stream = data.get(key, Stream)
        ids = stream.after(read_id(place), count) if stream is not None else []
        if ids:
            found.append([key, _shown(stream, ids)])
    return found or None


@command("XREADGROUP", 6, MANY)
def _xreadgroup(data: Data, words: Arguments) -> list[Any] | None:
    if words[0].upper() != b"GROUP":
        raise Answer("ERR syntax error")
    name, consumer = words[1:3]
    count, found = _count_of(words), []
    keys, places = streams_of(words)
    groups = [_group(data, key, name, " in XREADGROUP with GROUP option") for key in keys]
    for key, place, (stream, group) in zip(keys, places, groups, strict=True):
        if place != b">":
            raise Answer("ERR this model reads new entries only")
        now = data.now()
        group.consumers[consumer] = now
        ids = stream.after(group.last, count)
        for id in ids:
            group.pending[id] = Pending(consumer, now, 1)
        if ids:
            group.last = ids[-1]
            found.append([key, _shown(stream, ids)])
    return found or None
