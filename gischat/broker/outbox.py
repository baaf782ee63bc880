"""A channel's outbox: the stream of publications that every front reads by position."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gischat.broker.client import Redis
from gischat.broker.entries import Publication
from gischat.broker.keys import ChannelKeys
from gischat.broker.namespace import Namespace
from gischat.protocol.messages import id_of
from gischat.settings import Settings
from gischat.timings import Timings

READ_ENTRIES = 256  # of one channel, at the most, in one read


class Entry(NamedTuple):
    """A publication and the id of its entry, which is made of its time."""

    id: bytes
    publication: Publication
    age: float = 0.0  # seconds, where it was asked for


class Tail(NamedTuple):
    """Where a front begins that has heard nothing yet."""

    newest: Entry | None
    ids: dict[bytes, float]  # of the messages published lately, oldest first, each with its age in seconds
    intact: float  # seconds for which Redis is not known to have lost anything


class OutboxReader:
    """Reads the outboxes of some channels over a connection of its own, for a read waits."""

    def __init__(self, settings: Settings, channels: Sequence[str], redis: Redis, timings: Timings = Timings()) -> None:
        self.channels = channels
        self._wait = int(timings.outbox_read * 1000)
        self._redis = redis
        self._keys = {channel: ChannelKeys(settings.instance_id, channel).outbox for channel in channels}
        self._channels = {key.encode(): channel for channel, key in self._keys.items()}

    async def read(self, positions: Mapping[str, bytes]) -> list[tuple[str, list[Entry]]]:
        """What was published after the given entries, there; waits for it, empty when nothing came for a while.

        Raises:
            ConnectionError, Unavailable, RedisError: nothing was read; ask again for the same.
        """
        channels = [channel for channel in self.channels if channel in positions]
        keys = [self._keys[channel] for channel in channels]
        after = [positions[channel] for channel in channels]
        answer = await self._redis.call(
            "XREAD", "COUNT", READ_ENTRIES, "BLOCK", self._wait, "STREAMS", *keys, *after, key=keys[0]
        )
        return [
            (self._channels[stream], [Entry(id, Publication.parse(fields)) for id, fields in entries])
            for stream, entries in answer or ()
        ]

    def reconnect(self) -> None:
        """Ends the connection; a new one is made at once."""
        self._redis.disconnect()


class Outbox:
    """The ends of the outboxes, for participants that begin or have lost their place."""

    def __init__(self, namespace: Namespace, redis: Redis, bulk: Redis) -> None:
        self._scripts = namespace.scripts
        self._keys = namespace.keys
        self._redis = redis
        self._bulk = bulk

    async def last_entry(self, channel: str) -> Entry | None:
        """The newest publication; what is published later comes after it."""
        outbox = self._keys[channel].outbox
        newest = await self._redis.call("XREVRANGE", outbox, "+", "-", "COUNT", 1, key=outbox)
        return Entry(newest[0][0], Publication.parse(newest[0][1])) if newest else None

    async def entries_after(self, channel: str, position: bytes, number: int) -> list[Entry]:
        """What was published after the given entry, so many at the most, oldest first; does not wait."""
        outbox = self._keys[channel].outbox
        after = b"(" + position  # exclusive
        answer = await self._bulk.call("XRANGE", outbox, after, "+", "COUNT", number, key=outbox)
        return [Entry(id, Publication.parse(fields)) for id, fields in answer]

    async def newest_entry_ids(self, channel: str, number: int) -> list[bytes]:
        """The ids of the newest entries, so many at the most, newest first."""
        outbox = self._keys[channel].outbox
        newest = await self._bulk.call("XREVRANGE", outbox, "+", "-", "COUNT", number, key=outbox)
        return [id for id, _ in newest]

    async def tail(self, channel: str, number: int) -> Tail:
        """The newest publication, and the ids of the messages published lately, so many at the most, oldest first, each
        with its age in seconds (infinite for what is only stored), and for how many seconds Redis has not been known to
        lose anything; all at the same moment."""
        keys = self._keys[channel].for_script()
        newest, scored, now, stored, lost_at = await self._redis.run(self._scripts.tail, keys, (number,))
        ages = {id: max(now - float(at), 0) / 1000 for id, at in zip(scored[::2], scored[1::2], strict=True)}
        ages |= dict.fromkeys((id for id in map(id_of, stored) if id not in ages), math.inf)
        entry = Entry(newest[0], Publication.parse(newest[1])) if newest else None
        return Tail(entry, ages, (now - int(lost_at)) / 1000)
