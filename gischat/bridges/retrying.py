"""Retries of failed operations, and waits that end when the process stops."""

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
    """Retries while the other chat or Redis is away. `stop` is set when the process stops."""

    def __init__(self, kind: str, timings: Timings) -> None:
        self._kind = kind
        self.timings = timings
        self.stop = asyncio.Event()
        self.up = metrics.BRIDGE_UP.labels(kind)

    async def until_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """Await work; returns its result.

        Raises:
            Stopped: the process stops; the work was cancelled.
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
        """Call an operation until it succeeds.

        Args:
            until: the time (`time.time`) when to give up.

        Raises:
            Delayed: that time has passed.
            Stopped: the process stops.
        """
        backoff = Backoff(self.timings.bridge_retry, self.timings.bridge_retry_longest)
        trouble = LogThrottle(f"the {self._kind} bridge has to wait", self.timings, patience=0.0)
        while True:
            try:
                result = await what()
            except Delayed as delayed:
                metrics.BRIDGE_RETRIES.labels(self._kind, delayed.trouble).inc()
                if delayed.trouble in OUT_OF_REACH:
                    self.up.set(0)
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
