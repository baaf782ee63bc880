"""Pings: who is gone without a word (a phone in a tunnel) is noticed, and proxies see that a connection is in use.

One clock for all connections; Tornado's own, a task for each, would take two kilobytes of each who is silent.

The time for an answer may be longer than the interval: QGIS answers from the thread that a long computation holds.
"""

import asyncio
import itertools
from collections.abc import Iterable, Mapping

from gischat import metrics
from gischat.front.channel.closing import TIMED_OUT
from gischat.front.channel.joiner import Member
from gischat.front.channel.rooms import Room
from gischat.lateness import sleeps_on_time
from gischat.metrics import Closing
from gischat.timings import Timings

PARTS = 20  # an interval has so many, each with its share of the connections: not all are to answer at once


class Pulse:
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
        self._asked: set[Member] = set()  # that have not answered, as far as is known

    async def run(self) -> None:
        """Pings until it is cancelled."""
        if not self._interval:
            return
        for part in itertools.cycle(range(PARTS)):
            await self._look_for(self._interval / PARTS)
            for member in self._members():
                if member.number % PARTS == part:
                    member.ping()
                    self._asked.add(member)

    async def _look_for(self, seconds: float) -> None:
        """Lets so much time pass, and closes those meanwhile who are silent."""
        now = asyncio.get_running_loop().time
        ends = now() + seconds
        while (left := ends - now()) > 0:
            if await sleeps_on_time(min(left, self._timeout / PARTS), self._late):
                self._close_silent()

    def _close_silent(self) -> None:
        self._asked = {member for member in self._asked if member.owes_answer}
        for member in self._asked:
            if member.is_silent(self._timeout):
                metrics.CONNECTIONS_CLOSED.labels(Closing.PING_TIMEOUT).inc()
                member.close(*TIMED_OUT)

    def _members(self) -> Iterable[Member]:
        return itertools.chain.from_iterable(room.connections.values() for room in self._rooms.values())
