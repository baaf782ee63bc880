"""Live positions between fronts: a short stream per channel that expires within a minute and needs no worker.

Entries may be lost and are never resent: the next position, or the next renewal, replaces them.
"""

from collections.abc import Mapping
from typing import NamedTuple

from gischat.broker.client import Redis
from gischat.broker.namespace import Namespace

MAX_ENTRIES = 64  # per stream: some seconds of all fronts


class LiveEntry(NamedTuple):
    """The live positions of one front's connections; `LivePositions` encodes and decodes `body`."""

    channel: str
    id: bytes
    front: str
    body: bytes


class LiveStream:
    """The live streams of an instance's channels, on one connection."""

    def __init__(self, namespace: Namespace, redis: Redis) -> None:
        self._redis = redis
        self._expiry = int(namespace.timings.live_kept)
        self._streams = {channel: keys.live for channel, keys in namespace.keys.items()}
        self._channels = {stream.encode(): channel for channel, stream in self._streams.items()}

    async def publish(self, channel: str, front: str, body: bytes) -> None:
        """Publish a front's positions.

        Raises:
            ConnectionError, Unavailable, RedisError: they may not have been published.
        """
        key = self._streams[channel]
        added = self._redis.call("XADD", key, "MAXLEN", MAX_ENTRIES, "*", "front", front, "body", body, key=key)
        expires = self._redis.call("EXPIRE", key, self._expiry, key=key)
        await added
        await expires

    async def read(self, after: Mapping[str, bytes], wait: float) -> list[LiveEntry]:
        """Read what follows the given entries, by channel; wait up to `wait` seconds for it.

        Raises:
            ConnectionError, Unavailable, RedisError: nothing was read.
        """
        streams = [self._streams[channel] for channel in after]
        answer = await self._redis.call(
            "XREAD", "BLOCK", int(wait * 1000), "STREAMS", *streams, *after.values(), key=streams[0]
        )
        return [
            self._entry(stream, id, dict(zip(fields[::2], fields[1::2], strict=False)))
            for stream, entries in answer or ()
            for id, fields in entries
        ]

    def _entry(self, stream: bytes, id: bytes, by_name: Mapping[bytes, bytes]) -> LiveEntry:
        """Decode an entry; one that no front has written has an empty body."""
        front = by_name.get(b"front", b"").decode(errors="replace")
        return LiveEntry(self._channels[stream], id, front, by_name.get(b"body", b""))
