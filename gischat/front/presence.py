"""This front's sign of life in each channel.

Redis holds for every front a lease. While it is renewed, the front's connections count; when it runs out, a worker
removes them. A lease that Redis does not know (it was flushed or replaced, or this process was frozen for too long)
means that counts and nicknames have to be told again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from redis.exceptions import RedisError

from gischat.errors import Refused
from gischat.front.gateway import Gateway, Renewal
from gischat.front.rooms import Room
from gischat.front.subscriber import Subscriber
from gischat.front.turnstile import Turnstiles
from gischat.streams.scripts import LEASE_SECONDS

log = logging.getLogger(__name__)

RENEW_SECONDS = 1.0


class Presence:
    """Renews the leases of a front, and sees by the answers whether Redis has lost it, or it Redis."""

    def __init__(
        self, gateway: Gateway, rooms: Mapping[str, Room], turnstiles: Turnstiles, subscriber: Subscriber
    ) -> None:
        self._gateway = gateway
        self._rooms = rooms
        self._turnstiles = turnstiles
        self._subscriber = subscriber
        self._has_ended = False

    async def begin(self) -> None:
        """The first lease, which must be there before the first connection; waits for Redis."""
        while True:
            try:
                await self._renew()
                return
            except Refused:
                log.warning("waiting for redis")

    async def run(self) -> None:
        """Renews until it has ended.

        Raises:
            Deaf: this front does not hear, whatever it tries.
        """
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if self._has_ended:
                return
            try:
                renewals = await self._renew()
            except (Refused, RedisError) as error:
                log.warning("the lease could not be renewed: %s", error)
                continue
            for channel, renewal in renewals.items():
                if not renewal.was_known:
                    self._tell_again(self._rooms[channel])
            self._subscriber.compare({channel: renewal.published for channel, renewal in renewals.items()})

    async def end(self) -> None:
        """Gives the leases back; where that fails they run out by themselves."""
        self._has_ended = True
        with contextlib.suppress(Refused, RedisError, TimeoutError):
            async with asyncio.timeout(RENEW_SECONDS):
                await asyncio.gather(*(self._gateway.resign(channel) for channel in self._rooms))

    async def _renew(self) -> dict[str, Renewal]:
        renewed = [self._gateway.renew(channel, LEASE_SECONDS) for channel in self._rooms]
        return dict(zip(self._rooms, await asyncio.gather(*renewed), strict=True))

    def _tell_again(self, room: Room) -> None:
        log.warning("redis had lost this front in a channel with %d connections", len(room.connections))
        self._turnstiles.enqueue_again(room.channel)
        room.head_count.tell_again()
        for connection in room.connections.values():
            connection.restore()
