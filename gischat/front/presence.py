"""This front's sign of life in each channel.

Redis holds for every front a lease. While it is renewed, the front's connections count; when it runs out, a worker
removes them. A lease that Redis does not know (it was flushed or replaced, or this process was frozen for too long)
means that counts and nicknames have to be told again.
"""

import asyncio
import logging
from collections.abc import Mapping

from gischat.errors import Refused
from gischat.front.gateway import Gateway
from gischat.front.rooms import Room

log = logging.getLogger(__name__)

RENEW_SECONDS = 2.0
LEASE_SECONDS = 8.0  # several renewals may fail before the front counts as dead


class Presence:
    """Renews the leases of a front."""

    def __init__(self, gateway: Gateway, rooms: Mapping[str, Room]) -> None:
        self._gateway = gateway
        self._rooms = rooms

    async def begin(self) -> None:
        """The first lease, which must be there before the first connection; waits for Redis."""
        while True:
            try:
                await self._renew()
                return
            except Refused:
                log.warning("waiting for redis")

    async def run(self) -> None:
        """Renews until it is cancelled."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                for channel in await self._renew():
                    self._tell_again(self._rooms[channel])
            except Refused:
                log.debug("the lease could not be renewed")
            except Exception:
                log.exception("the lease could not be renewed")

    async def _renew(self) -> list[str]:
        """Renews all leases; returns the channels in which there was none."""
        renewed = [self._gateway.renew(channel, LEASE_SECONDS) for channel in self._rooms]
        known = await asyncio.gather(*renewed)
        return [channel for channel, is_known in zip(self._rooms, known, strict=True) if not is_known]

    def _tell_again(self, room: Room) -> None:
        log.warning("redis had lost this front in a channel with %d connections", len(room.connections))
        room.head_count.tell_again()
        for connection in room.connections.values():
            connection.restore()
