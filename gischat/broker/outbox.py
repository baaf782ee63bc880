"""A channel's outbox: the stream of publications that every front reads by position."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from gischat.broker.bodies import Bodies
from gischat.broker.client import Redis
from gischat.broker.entries import FOREIGN, Publication
from gischat.broker.foreign_entries import ForeignEntries
from gischat.broker.keys import ChannelKeys
from gischat.broker.namespace import Namespace
from gischat.protocol.messages import id_of
from gischat.settings import Settings
from gischat.timings import Timings

READ_ENTRIES = 256  # maximum per channel and read
FOREIGN_PAGE = 100  # entries per read, to find a publication before foreign entries


class Entry(NamedTuple):
    """A publication, or `FOREIGN`, with the id of its entry, which contains its time."""

    id: bytes
    publication: Publication
    age: float = 0.0  # seconds; 0 where it is not needed

    @classmethod
    def parse(cls, id: bytes, fields: Sequence[bytes], age: float = 0.0) -> Self:
        try:
            return cls(id, Publication.parse(fields), age)
        except ValueError:
            return cls(id, FOREIGN, age)


class Tail(NamedTuple):
    """The state from which a new front starts to read."""

    newest: Entry | None  # see `Outbox.last_entry`
    ids: dict[bytes, float]  # of recently published messages, oldest first: their age in seconds
    intact: float  # seconds since the last known loss in Redis


class OutboxReader:
    """Reads outboxes on a connection of its own, because its reads block."""

    def __init__(self, settings: Settings, channels: Sequence[str], redis: Redis, timings: Timings = Timings()) -> None:
        self.channels = channels
        self._wait = int(timings.outbox_read * 1000)
        self._redis = redis
        self._keys = {channel: ChannelKeys(settings.instance_id, channel).outbox for channel in channels}
        self._channels = {key.encode(): channel for channel, key in self._keys.items()}
        self._foreign = ForeignEntries(timings)

    async def read(self, positions: Mapping[str, bytes], wait: float | None = None) -> list[tuple[str, list[Entry]]]:
        """Read what follows the given entries, by channel; wait for it, and return nothing after a while.

        Large bodies are references: see `gischat.broker.bodies`.

        Args:
            wait: seconds; None: as long as usual.

        Raises:
            ConnectionError, Unavailable, RedisError: nothing was read; the caller repeats the read.
        """
        channels = [channel for channel in self.channels if channel in positions]
        keys = [self._keys[channel] for channel in channels]
        after = [positions[channel] for channel in channels]
        milliseconds = self._wait if wait is None else int(wait * 1000)
        answer = await self._redis.call(
            "XREAD", "COUNT", READ_ENTRIES, "BLOCK", milliseconds, "STREAMS", *keys, *after, key=keys[0]
        )
        return [
            (self._channels[stream], _parsed(stream.decode(), entries, self._foreign))
            for stream, entries in answer or ()
        ]

    def reconnect(self) -> None:
        """Close the connection; a new one follows at once."""
        self._redis.disconnect()


class Outbox:
    """The newest entries of outboxes, for participants that start or have lost their position."""

    def __init__(self, namespace: Namespace, redis: Redis, bulk: Redis, bodies: Bodies) -> None:
        self._scripts = namespace.scripts
        self._keys = namespace.keys
        self._redis = redis
        self._bulk = bulk
        self._bodies = bodies
        self._foreign = ForeignEntries(namespace.timings)

    async def last_entry(self, channel: str) -> Entry | None:
        """Read the newest publication, with the id of the newest entry, whether foreign or not; later ones follow it.

        Returns None if there is no publication.
        """
        outbox = self._keys[channel].outbox
        newest = await self._redis.call("XREVRANGE", outbox, "+", "-", "COUNT", 1, key=outbox)
        return await self._with_publication(outbox, newest[0]) if newest else None

    async def _with_publication(self, outbox: str, newest: Any) -> Entry | None:
        """Parse the newest entry; if it is foreign, give it the last publication before it."""
        entry = Entry.parse(*newest)
        before = entry.id
        while entry.publication.is_foreign:
            end = b"(" + before  # exclusive
            page = await self._bulk.call("XREVRANGE", outbox, end, "-", "COUNT", FOREIGN_PAGE, key=outbox)
            if not page:
                return None
            earlier = (Entry.parse(*one).publication for one in page)
            publication = next((one for one in earlier if not one.is_foreign), FOREIGN)
            entry, before = entry._replace(publication=publication), page[-1][0]
        return entry

    async def entries_after(self, channel: str, position: bytes, number: int) -> list[Entry]:
        """Read up to `number` entries that follow the given one, oldest first, without waiting.

        Their bodies are whole, or empty if they are missing.
        """
        outbox = self._keys[channel].outbox
        after = b"(" + position  # exclusive
        answer = await self._bulk.call("XRANGE", outbox, after, "+", "COUNT", number, key=outbox)
        return [
            entry._replace(publication=await self._bodies.complete(channel, entry.publication))
            for entry in _parsed(outbox, answer, self._foreign)
        ]

    async def newest_entry_ids(self, channel: str, number: int) -> list[bytes]:
        """Read the ids of up to `number` newest entries, newest first."""
        outbox = self._keys[channel].outbox
        newest = await self._bulk.call("XREVRANGE", outbox, "+", "-", "COUNT", number, key=outbox)
        return [id for id, _ in newest]

    async def tail(self, channel: str, number: int) -> Tail:
        """Read the state from which a front starts: the newest publication and up to `number` recent message ids.

        The ids of messages that are only stored have an infinite age. All is read at the same moment.
        """
        keys = self._keys[channel].for_script()
        newest, scored, now, stored, lost_at = await self._redis.run(self._scripts.tail, keys, (number,))
        ages = {id: max(now - float(at), 0) / 1000 for id, at in zip(scored[::2], scored[1::2], strict=True)}
        ages |= dict.fromkeys((id for id in map(id_of, stored) if id and id not in ages), math.inf)
        entry = await self._with_publication(self._keys[channel].outbox, newest) if newest else None
        return Tail(entry, ages, (now - int(lost_at)) / 1000)


def _parsed(outbox: str, answer: Any, foreign: ForeignEntries) -> list[Entry]:
    entries = [Entry.parse(id, fields) for id, fields in answer]
    for entry in entries:
        if entry.publication.is_foreign:
            foreign.record(outbox, entry.id)
    return entries
