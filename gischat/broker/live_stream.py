"""Live positions between fronts: a stream of each channel that is short, forgets within a minute and needs no worker.

What is told there may be lost and is never repeated: the next position, or the next renewal, takes its place.
"""

from collections.abc import Mapping
from typing import NamedTuple

from gischat.broker.client import Redis
from gischat.broker.namespace import Namespace

MAX_ENTRIES = 64  # of a stream: some seconds of all fronts


class LiveEntry(NamedTuple):
    """What one front tells of its connections at one time; `body` is `LivePositions`' own."""

    channel: str
    id: bytes
    front: str
    body: bytes


class LiveStream:
    """The streams of an instance's channels, over one connection."""

    def __init__(self, namespace: Namespace, redis: Redis) -> None:
        self._redis = redis
        self._kept = int(namespace.timings.live_kept)
        self._streams = {channel: keys.live for channel, keys in namespace.keys.items()}
        self._channels = {stream.encode(): channel for channel, stream in self._streams.items()}

    async def publish(self, channel: str, front: str, body: bytes) -> None:
        """
        Raises:
            ConnectionError, Unavailable, RedisError: it may not have been told.
        """
        key = self._streams[channel]
        told = self._redis.call("XADD", key, "MAXLEN", MAX_ENTRIES, "*", "front", front, "body", body, key=key)
        kept = self._redis.call("EXPIRE", key, self._kept, key=key)
        await told
        await kept

    async def read(self, after: Mapping[str, bytes], wait: float) -> list[LiveEntry]:
        """What was told in these channels after the entry of each; waits for something to come.

        Raises:
            ConnectionError, Unavailable, RedisError: see `publish`.
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

    def _entry(self, stream: bytes, id: bytes, said: Mapping[bytes, bytes]) -> LiveEntry:
        """Of one that was not written by a front of ours, nothing."""
        front = said.get(b"front", b"").decode(errors="replace")
        return LiveEntry(self._channels[stream], id, front, said.get(b"body", b"[]"))
