"""Pings: who is gone without a word (a phone in a tunnel) is noticed, and proxies see that a connection is in use.

One clock for all connections; Tornado's own, a task for each, would take two kilobytes of each who is silent.

The time for an answer may be longer than the interval: QGIS answers from the thread that a long computation holds.
"""

import asyncio
import itertools
from collections.abc import Iterable, Mapping

from gischat.front.channel.join_buffer import Member
from gischat.front.channel.room import Room
from gischat.front.close_status import PING_TIMEOUT
from gischat.lateness import sleeps_on_time
from gischat.observability import metrics
from gischat.observability.metrics import CloseReason
from gischat.timings import Timings

SLICES = 20  # an interval has so many, each with its share of the connections: not all are to answer at once


class Keepalive:
    """Pings every connection once in an interval, and closes those of which nothing comes in time.

    The first ping that is not answered counts, and whatever comes is an answer: a part of a photo on a slow link, too.
    """

    def __init__(
        self, rooms: Mapping[str, Room], interval: float, timeout: float, timings: Timings = Timings()
    ) -> None:
        """
        Args:
            interval: seconds; 0: no pings.
            timeout: seconds for an answer; 0: as long as the interval.
        """
        self._rooms = rooms
        self._interval = interval
        self._timeout = timeout or interval
        self._late = timings.late
        self._awaiting: set[Member] = set()  # that have not answered, as far as is known

    async def run(self) -> None:
        """Pings until it is cancelled."""
        if not self._interval:
            return
        for part in itertools.cycle(range(SLICES)):
            await self._watch_for(self._interval / SLICES)
            for member in self._members():
                if member.id % SLICES == part:
                    member.ping()
                    self._awaiting.add(member)

    async def _watch_for(self, seconds: float) -> None:
        """Lets so much time pass, and closes those meanwhile who are silent."""
        now = asyncio.get_running_loop().time
        ends = now() + seconds
        while (left := ends - now()) > 0:
            if await sleeps_on_time(min(left, self._timeout / SLICES), self._late):
                self._close_silent()

    def _close_silent(self) -> None:
        self._awaiting = {member for member in self._awaiting if member.awaiting_pong}
        for member in self._awaiting:
            if member.pong_overdue(self._timeout):
                metrics.CONNECTIONS_CLOSED.labels(CloseReason.PING_TIMEOUT).inc()
                member.close(*PING_TIMEOUT)

    def _members(self) -> Iterable[Member]:
        return itertools.chain.from_iterable(room.connections.values() for room in self._rooms.values())
