"""Keepalive: pings detect silently lost connections (a phone in a tunnel), and keep proxies from closing idle ones.

One timer serves all connections; Tornado's own pings take a task and two kilobytes per idle connection.

The timeout may be longer than the interval: QGIS answers from its main thread, which a computation can block for long.
"""

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence

from gischat.front.channel.join_buffer import Member
from gischat.front.channel.room import Room
from gischat.front.close_status import PING_TIMEOUT
from gischat.lateness import sleeps_on_time
from gischat.observability import metrics
from gischat.observability.metrics import CloseReason
from gischat.timings import Timings

SLICES = 20  # per interval, each with its share of the connections, so that not all answer at once
TURN_PINGS = 32  # in one turn of the loop: a slice of ten thousand connections would take it for 20 ms


class Keepalive:
    """Pings every connection once per interval, and closes those that do not answer in time.

    The timeout begins with the first unanswered ping. Any received bytes are an answer, even a part of a photo.
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
        self._awaiting: set[Member] = set()  # not known to have answered

    async def run(self) -> None:
        """Ping until cancelled."""
        if not self._interval:
            return
        now = asyncio.get_running_loop().time
        due, pause = now(), self._interval / SLICES
        for part in itertools.cycle(range(SLICES)):
            # The time that pings take is part of the interval, a pause of the process is not
            due = (due if due + pause > now() else now()) + pause
            await self._watch_until(due)
            await self._ping([member for member in self._members() if member.id % SLICES == part])

    async def _ping(self, members: Sequence[Member]) -> None:
        """Ping these connections, of which some may end meanwhile; others' messages pass in between."""
        for start in range(0, len(members), TURN_PINGS):
            for member in members[start : start + TURN_PINGS]:
                member.ping()
                self._awaiting.add(member)
            await asyncio.sleep(0)

    async def _watch_until(self, ends: float) -> None:
        """Wait until that loop time, closing connections whose pong is overdue meanwhile."""
        now = asyncio.get_running_loop().time
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
