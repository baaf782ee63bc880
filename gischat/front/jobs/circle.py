"""Alive means hearing: a heartbeat goes the way of every message, round the whole circle.

From here through the inbox to a worker, through the outbox and the subscriber back to here. While it comes round,
messages do too; when it does not, the front says so.
"""

import asyncio
import time

from gischat import metrics
from gischat.front.jobs.turnstile import Ending, Turnstiles
from gischat.messages import Message
from gischat.streams.entries import HEARTBEAT
from gischat.timings import Timings


class Circle:
    """Beats through one channel: all channels of a front share its connections to Redis and its workers."""

    def __init__(self, channel: str, turnstiles: Turnstiles, timings: Timings = Timings()) -> None:
        self._timings = timings
        self._turnstiles = turnstiles
        self._turnstile = turnstiles.open(channel)
        self._began = 0.0  # by a clock that is finer than the loop's, which counts milliseconds
        self._came_round: float | None = None
        self._measured = metrics.HEARTBEAT_SECONDS.labels(channel).observe

    @property
    def is_closed(self) -> bool:
        """Whether messages go round."""
        return self._came_round is not None and self._now() - self._came_round < self._timings.heartbeat_lost

    async def run(self) -> None:
        """Beats until it is cancelled."""
        while True:
            if self._turnstile.is_idle:
                self._began = time.monotonic()
                self._turnstile.submit(Message(HEARTBEAT, "", b"{}"), self._ended, bounded=False)
            await asyncio.sleep(self._timings.heartbeat)

    def stop(self) -> None:
        """Forgets the beat that is on its way: nobody waits for it any more."""
        self._turnstiles.close(self._turnstile)

    def _ended(self, ending: Ending) -> None:
        if not ending.is_refusal:
            self._came_round = self._now()
            self._measured(time.monotonic() - self._began)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
