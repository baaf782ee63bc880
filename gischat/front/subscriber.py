"""The outbox reader: hands what the workers publish to the rooms.

It reads the outboxes as streams, by position: whatever happens to the connection, it goes on where it was.
"""

import asyncio
import logging
from collections.abc import Mapping

from gischat.errors import Refused
from gischat.front.gateway import Entry, Gateway
from gischat.front.rooms import Room
from gischat.front.turnstile import Turnstiles

log = logging.getLogger(__name__)


class Subscriber:
    """Reads the outboxes of all rooms."""

    def __init__(self, gateway: Gateway, rooms: Mapping[str, Room], turnstiles: Turnstiles) -> None:
        self._gateway = gateway
        self._rooms = rooms
        self._turnstiles = turnstiles
        self._positions: dict[str, bytes] = {}

    async def find_positions(self) -> None:
        """Begins at the end of each outbox; waits for Redis as long as it takes."""
        for channel in self._rooms:
            while channel not in self._positions:
                try:
                    self._positions[channel] = await self._gateway.last_entry(channel)
                except Refused:
                    log.warning("waiting for redis")

    async def run(self) -> None:
        """Reads until it is cancelled."""
        while True:
            try:
                read = await self._gateway.read_outboxes(self._positions)
            except (ConnectionError, Refused) as error:
                log.debug("the outboxes could not be read: %s", error)
                # The connection is being made anew; without this pause a fault that comes at once would spin.
                await asyncio.sleep(0.05)
                continue
            for channel, entries in read:
                self._hand_over(channel, entries)
                self._positions[channel] = entries[-1].id

    def _hand_over(self, channel: str, entries: list[Entry]) -> None:
        publications = [entry.publication for entry in entries]
        for publication in publications:
            try:
                self._turnstiles.end(publication)
            except Exception:
                log.exception("the end of a job could not be told")
        try:
            self._rooms[channel].deliver(publications)
        except Exception:
            log.exception("a publication could not be delivered")
