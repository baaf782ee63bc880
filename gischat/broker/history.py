"""A channel's history: the stored messages, and the publications that the outbox retains."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from gischat.broker.bodies import Bodies
from gischat.broker.client import TOO_BUSY, ConnectionLost, Redis
from gischat.broker.entries import Publication
from gischat.broker.namespace import Namespace
from gischat.broker.outbox import Entry
from gischat.errors import Unavailable
from gischat.protocol.messages import id_of

# The sizes of pages of retained publications: entries of the first page, maximum of entries, bytes aimed at.
FIRST_PAGE, PAGE_ENTRIES, PAGE_BYTES = 20, 200, 2**18


@dataclass(frozen=True)
class Snapshot:
    """The stored messages after the first `offset` publications of the channel."""

    offset: int
    history: Sequence[bytes]

    @cached_property
    def ids(self) -> Sequence[bytes]:
        """The messages' ids; cached, because each join needs them."""
        return [id_of(body) for body in self.history]


class _Retention(NamedTuple):
    """Which of the retained publications may be replayed to clients that reconnect."""

    now: int  # milliseconds
    oldest: int  # milliseconds; older publications must not be replayed
    deleted_to: int  # publications up to this offset are deleted
    deleted: frozenset[bytes]  # ids of messages that are deleted


class History:
    """The histories of all channels, read on a connection whose large answers block nothing else.

    These reads are not repeated after the connection is lost, because the client may have gone meanwhile; they fail
    with `Unavailable`.
    """

    def __init__(self, namespace: Namespace, redis: Redis, bodies: Bodies) -> None:
        self._scripts = namespace.scripts
        self._keys = namespace.keys
        self._redis = redis
        self._bodies = bodies

    async def snapshot(self, channel: str) -> Snapshot:
        """Read the stored messages."""
        keys = self._keys[channel].for_moderation()
        offset, history = await _answered(self._redis.run(self._scripts.snapshot, keys, ()))
        bodies = [await self._bodies.read(channel, body) for body in history]
        return Snapshot(offset, [body for body in bodies if body is not None])

    async def message(self, channel: str, id: str) -> bytes | None:
        """Read a stored message; None if it is not stored (any more)."""
        keys = self._keys[channel].for_script()
        found: bytes | None = await _answered(self._redis.run(self._scripts.message, keys, (id,)))
        return None if found is None else await self._bodies.read(channel, found)

    async def places(self, channel: str) -> list[bytes]:
        """Read the places of the stored messages, oldest first, encoded as in `gischat.protocol.places`."""
        key = self._keys[channel].places
        values = await _answered(self._redis.call("HGETALL", key, key=key))
        return [place for _, place in sorted(map(_entry_and_place, values[1::2]))]

    async def place(self, channel: str, id: str) -> bytes | None:
        """Read the place of a stored message; None if it has none, or is not stored (any more)."""
        key = self._keys[channel].places
        value = await _answered(self._redis.call("HGET", key, id, key=key))
        return None if value is None else _entry_and_place(value)[1]

    async def retained(self, channel: str, up_to: int, max_bytes: int) -> list[Entry]:
        """Read the retained publications up to an offset, oldest first, for a client that reconnects.

        Deleted messages have an empty body. Reads pages from the newest entry backwards until they exceed `max_bytes`;
        other commands wait for one page at most.
        """
        retention = await self._retention(channel)
        found: list[Entry] = []
        newest, count, size = b"+", FIRST_PAGE, 0
        while size <= max_bytes:
            page = await self._page(channel, newest, retention, count)
            for entry in page:
                if entry.publication.offset <= up_to and size <= max_bytes and not entry.publication.is_foreign:
                    kept = _without_deleted(entry, retention)
                    whole = await self._bodies.complete(channel, kept.publication)
                    found.append(kept._replace(publication=whole))
                    size += len(found[-1].publication.body)
            if len(page) < count:
                break
            newest = b"(" + page[-1].id
            mean = sum(len(entry.publication.body) for entry in page) / count
            count = min(max(int(PAGE_BYTES / (mean + 1)), 1), PAGE_ENTRIES)
        return found[::-1]

    async def is_deleted(self, channel: str, publication: Publication) -> bool:
        """Whether a moderator has deleted the message recently."""
        return _is_deleted(publication, await self._retention(channel))

    async def _retention(self, channel: str) -> _Retention:
        keys = self._keys[channel].for_moderation()
        now, oldest, deleted_to, deleted = await _answered(self._redis.run(self._scripts.retained, keys, ()))
        return _Retention(now, oldest, deleted_to, frozenset(deleted))

    async def _page(self, channel: str, newest: bytes, retention: _Retention, count: int) -> list[Entry]:
        outbox = self._keys[channel].outbox
        reading = self._redis.call("XREVRANGE", outbox, newest, retention.oldest, "COUNT", count, key=outbox)
        return [Entry.parse(id, fields, _age(id, retention.now)) for id, fields in await _answered(reading)]


def _without_deleted(entry: Entry, retention: _Retention) -> Entry:
    is_deleted = _is_deleted(entry.publication, retention)
    return entry._replace(publication=replace(entry.publication, body=b"")) if is_deleted else entry


def _is_deleted(publication: Publication, retention: _Retention) -> bool:
    return publication.offset <= retention.deleted_to or publication.id in retention.deleted


async def _answered(answer: "asyncio.Future[Any]") -> Any:
    try:
        return await answer
    except ConnectionLost:
        raise Unavailable(TOO_BUSY) from None


def _entry_and_place(value: bytes) -> tuple[tuple[int, ...], bytes]:
    """Split into the message's entry id in the outbox, by which messages are ordered, and its encoded place."""
    entry, _, place = value.partition(b" ")
    return tuple(map(int, entry.split(b"-"))), place


def _age(entry_id: bytes, now: int) -> float:
    return max(now - int(entry_id.partition(b"-")[0]), 0) / 1000
