"""Attempts that are repeated, and waits that end when the process is to stop."""

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
    """What a bridge does while the other chat, or Redis, is away. `stop` is set when the process is to stop."""

    def __init__(self, kind: str, timings: Timings) -> None:
        self._kind = kind
        self.timings = timings
        self.stop = asyncio.Event()
        self.up = metrics.BRIDGE_UP.labels(kind)

    async def until_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """What work comes to.

        Raises:
            Stopped: the process is to stop; the work is cancelled.
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
        """Does something, again and again while it cannot be done.

        Args:
            until: by `time.time`, when it is given up.

        Raises:
            Delayed: that time has come.
            Stopped: the process is to stop.
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
