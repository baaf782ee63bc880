"""Exchanges live positions with the other fronts, in channels with subscribers on this front."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from gischat.broker.client import Redis
from gischat.broker.foreign_entries import ForeignEntries
from gischat.broker.live_stream import LiveEntry, LiveStream
from gischat.broker.namespace import Namespace
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable
from gischat.front.channel.room import Room
from gischat.timings import Timings

log = logging.getLogger(__name__)

STREAM_START = b"0-0"


class LiveExchange:
    """Publishes the rooms' live positions to Redis; reads those of other fronts from the first subscription on."""

    def __init__(
        self,
        front: str,
        rooms: Mapping[str, Room],
        namespace: Namespace,
        redis: Redis,
        reading: Sequence[tuple[Sequence[str], Callable[[], Redis]]],
        timings: Timings = Timings(),
    ) -> None:
        """Connect the rooms to the streams.

        Args:
            reading: groups of channels that one command can read, each with a function that makes a connection.
        """
        self._namespace = namespace
        self._rooms = rooms
        self._reading = reading
        self._timings = timings
        self._subscribed = asyncio.Event()
        self._foreign = ForeignEntries(timings)
        stream = LiveStream(namespace, redis)
        for name, room in rooms.items():
            room.live.publish = partial(stream.publish, name, front)
            room.live.on_subscribed = self._subscribed.set

    async def run(self) -> None:
        """Read until cancelled."""
        await self._subscribed.wait()
        async with asyncio.TaskGroup() as group:
            for channels, connect in self._reading:
                group.create_task(self._follow(channels, connect))

    async def flush(self) -> None:
        """Publish unpublished positions, before this front stops."""
        await asyncio.gather(*(room.live.flush() for room in self._rooms.values()))

    async def _follow(self, channels: Sequence[str], connect: Callable[[], Redis]) -> None:
        positions: dict[str, bytes] = {}
        async with connect() as redis:
            stream = LiveStream(self._namespace, redis)
            while True:
                wanted = [channel for channel in channels if self._rooms[channel].live.subscribers]
                if not wanted:
                    positions.clear()
                    self._subscribed.clear()
                    await self._subscribed.wait()
                    continue
                # A channel that had no subscribers is read from the start: the room dropped its positions.
                positions = {channel: positions.get(channel, STREAM_START) for channel in wanted}
                await self._read(stream, positions)

    async def _read(self, stream: LiveStream, positions: dict[str, bytes]) -> None:
        try:
            for entry in await stream.read(positions, self._timings.live):
                positions[entry.channel] = entry.id
                self._receive(entry)
                await asyncio.sleep(0)  # the first read may return many entries
        except (ConnectionError, Unavailable, RedisError) as error:
            log.debug("live positions could not be read: %s", error)
            await asyncio.sleep(self._timings.retry)
        for channel in positions:
            self._rooms[channel].live.expire()

    def _receive(self, entry: LiveEntry) -> None:
        try:
            self._rooms[entry.channel].live.receive(entry.front, entry.body)
        except msgspec.DecodeError:
            self._foreign.record(self._namespace.keys[entry.channel].live, entry.id)
