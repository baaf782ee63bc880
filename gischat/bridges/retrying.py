"""Attempts that are repeated, and waits that end when the process must stop."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from gischat.bridges.backoff import Backoff
from gischat.bridges.errors import OUT_OF_REACH, Delayed, Stopped
from gischat.bridges.participant import REDIS_FAULTS
from gischat.broker.log_throttle import LogThrottle, described
from gischat.observability import metrics
from gischat.timings import Timings

log = logging.getLogger(__name__)

T = TypeVar("T")


class Retrying:
    """A bridge, or an outgoing hook, that repeats attempts while the other side, or Redis, is away."""

    def __init__(
        self, kind: str, timings: Timings, stop: asyncio.Event | None = None, trouble: LogThrottle | None = None
    ) -> None:
        """
        Args:
            kind: the metrics' label.
            stop: is set when the process must stop.
            trouble: the log of all attempts together; without it each attempt has its own.
        """
        self._kind = kind
        self.timings = timings
        self.stop = stop or asyncio.Event()
        self._trouble = trouble

    def on_out_of_reach(self) -> None:
        """The other side cannot be reached."""

    async def until_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of the work.

        Raises:
            Stopped: the process must stop; the work is cancelled.
        """
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Stopped
            return task.result()
        finally:
            task.cancel()
            stopped.cancel()

    async def attempt(self, what: Callable[[], Awaitable[T]], until: float = math.inf) -> T:
        """Do something; repeat it while it cannot be done.

        Args:
            until: when to give up, by `time.time`.

        Raises:
            Delayed: the next attempt would be after `until`.
            Stopped: the process must stop.
        """
        backoff = Backoff(self.timings.bridge_retry, self.timings.bridge_retry_longest)
        trouble = self._trouble or LogThrottle(f"the {self._kind} bridge has to wait", self.timings, patience=0.0)
        while True:
            try:
                result = await what()
            except Delayed as delayed:
                metrics.BRIDGE_RETRIES.labels(self._kind, delayed.trouble).inc()
                if delayed.trouble in OUT_OF_REACH:
                    self.on_out_of_reach()
                trouble.report(delayed)
                wait = backoff.next(delayed.after)
                if time.time() + wait > until:
                    raise
                await self.until_stopped(asyncio.sleep(wait))
            except REDIS_FAULTS as error:
                log.debug("redis is awaited: %s", described(error))
                await self.until_stopped(asyncio.sleep(self.timings.retry))
            else:
                return result
