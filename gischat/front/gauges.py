"""Gauges of a front for Prometheus, set every second, so that clients' actions cost nothing."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from gischat.front.channel.room import Room
from gischat.observability import metrics
from gischat.timings import Timings


class Gauges:
    """The numbers of clients and live positions by channel, and whether the front is ready."""

    def __init__(
        self,
        process: str,
        rooms: Mapping[str, Room],
        reasons_not_ready: Callable[[], Sequence[str]],
        timings: Timings = Timings(),
    ) -> None:
        self._interval = timings.gauges
        self._clients = [(room, metrics.CLIENTS.labels(name)) for name, room in rooms.items()]
        self._live = [(room.live, metrics.LIVE_POSITIONS.labels(name)) for name, room in rooms.items()]
        self._ready = metrics.READY.labels(process)
        self._reasons_not_ready = reasons_not_ready

    async def run(self) -> None:
        """Set the gauges until cancelled."""
        while True:
            self._ready.set(not self._reasons_not_ready())
            for room, clients in self._clients:
                clients.set(len(room.connections))
            for live, shared in self._live:
                shared.set(len(live))
            await asyncio.sleep(self._interval)
