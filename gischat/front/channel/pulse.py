"""Pings: who is gone without a word (a phone in a tunnel) is noticed, and proxies see that a connection is in use.

One clock for all connections; Tornado's own, a task for each, would take two kilobytes of each who is silent.
"""

import asyncio
import itertools
from collections.abc import Iterable, Mapping

from gischat import metrics
from gischat.front.channel.joiner import Member
from gischat.front.channel.rooms import Room
from gischat.metrics import Closing

PARTS = 20  # an interval has so many, each with its share of the connections: not all are to answer at once

TIMED_OUT = "No answer to our ping."


class Pulse:
    """Pings every connection once in an interval, and closes those that do not answer in time."""

    def __init__(self, rooms: Mapping[str, Room], interval: float, timeout: float) -> None:
        """
        Args:
            interval: seconds; 0: no pings.
            timeout: seconds for an answer; 0: as long as the interval.
        """
        self._rooms = rooms
        self._interval = interval
        self._timeout = timeout or interval

    async def run(self) -> None:
        """Pings until it is cancelled."""
        if not self._interval:
            return
        for part in itertools.cycle(range(PARTS)):
            await asyncio.sleep(self._interval / PARTS)
            members = [member for member in self._members() if member.number % PARTS == part]
            _close_silent(members)
            for member in members:
                member.ping()
            if self._timeout < self._interval:
                asyncio.get_running_loop().call_later(self._timeout, _close_silent, members)

    def _members(self) -> Iterable[Member]:
        return itertools.chain.from_iterable(room.connections.values() for room in self._rooms.values())


def _close_silent(pinged: Iterable[Member]) -> None:
    """Closes those who have not answered the last ping; who is closed already is not hurt."""
    for member in pinged:
        if member.is_silent:
            metrics.CONNECTIONS_CLOSED.labels(Closing.PING_TIMEOUT).inc()
            member.close(1008, TIMED_OUT)
