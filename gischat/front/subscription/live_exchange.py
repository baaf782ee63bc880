"""Hears of the other fronts' live positions, in channels where somebody here wants to know them."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from gischat.broker.client import Redis
from gischat.broker.live_stream import LiveStream
from gischat.broker.namespace import Namespace
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable
from gischat.front.channel.room import Room
from gischat.timings import Timings

log = logging.getLogger(__name__)

STREAM_START = b"0-0"


class LiveExchange:
    """Connects the rooms' live positions to Redis; reads as soon as somebody here has asked for them once."""

    def __init__(
        self,
        front: str,
        rooms: Mapping[str, Room],
        namespace: Namespace,
        redis: Redis,
        reading: Sequence[tuple[Sequence[str], Callable[[], Redis]]],
        timings: Timings = Timings(),
    ) -> None:
        """
        Args:
            reading: groups of channels that one command can read, each with what makes a connection for that.
        """
        self._namespace = namespace
        self._rooms = rooms
        self._reading = reading
        self._timings = timings
        self._subscribed = asyncio.Event()
        stream = LiveStream(namespace, redis)
        for name, room in rooms.items():
            room.live.publish = partial(stream.publish, name, front)
            room.live.on_subscribed = self._subscribed.set

    async def run(self) -> None:
        """Reads until it is cancelled."""
        await self._subscribed.wait()
        async with asyncio.TaskGroup() as group:
            for channels, connect in self._reading:
                group.create_task(self._follow(channels, connect))

    async def flush(self) -> None:
        """Tells the others what they have not been told yet: this front ends."""
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
                # What was not followed for a while begins anew: the room has forgotten it.
                positions = {channel: positions.get(channel, STREAM_START) for channel in wanted}
                await self._read(stream, positions)

    async def _read(self, stream: LiveStream, positions: dict[str, bytes]) -> None:
        try:
            for entry in await stream.read(positions, self._timings.live):
                positions[entry.channel] = entry.id
                self._hear(entry.channel, entry.front, entry.body)
                await asyncio.sleep(0)  # the first time, there may be many
        except (ConnectionError, Unavailable, RedisError) as error:
            log.debug("live positions could not be read: %s", error)
            await asyncio.sleep(self._timings.retry)
        for channel in positions:
            self._rooms[channel].live.expire()

    def _hear(self, channel: str, front: str, body: bytes) -> None:
        try:
            self._rooms[channel].live.hear(front, body)
        except Exception:
            log.exception("live positions could not be understood", extra={"channel": channel})
