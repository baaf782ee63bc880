"""End-to-end health probe: a heartbeat job takes the path of every message, from this front and back to it.

It goes through the inbox, a worker, the outbox and the subscriber. If it does not return in time, the front is
unhealthy.
"""

import asyncio
import time

from gischat.broker.entries import HEARTBEAT
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.job_result import JobResult
from gischat.observability import metrics
from gischat.protocol.messages import Message
from gischat.timings import Timings


class RoundTripProbe:
    """Sends heartbeats in one channel; all channels of a front share its connections to Redis and the workers."""

    def __init__(self, channel: str, dispatcher: Dispatcher, timings: Timings = Timings()) -> None:
        self._timings = timings
        self._dispatcher = dispatcher
        self._job_queue = dispatcher.open(channel)
        self._sent_at = 0.0  # by a finer clock than the loop's, which counts milliseconds
        self._returned_at: float | None = None
        self._measured = metrics.HEARTBEAT_SECONDS.labels(channel).observe

    @property
    def is_healthy(self) -> bool:
        """Whether the last heartbeat returned recently."""
        return self._returned_at is not None and self._now() - self._returned_at < self._timings.heartbeat_lost

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            if self._job_queue.is_idle:
                self._sent_at = time.monotonic()
                self._job_queue.submit(Message(HEARTBEAT, "", b"{}"), self._on_done, bounded=False)
            await asyncio.sleep(self._timings.heartbeat)

    def stop(self) -> None:
        """Drop the heartbeat in flight."""
        self._dispatcher.close(self._job_queue)

    def _on_done(self, result: JobResult) -> None:
        if not result.is_refusal:
            self._returned_at = self._now()
            self._measured(time.monotonic() - self._sent_at)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
