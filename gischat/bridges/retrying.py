"""Retries of failed operations, waits that end when the process stops, and the loop over an outbox."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from gischat.backoff import Backoff
from gischat.bridges.cursor import OutboxCursor
from gischat.bridges.errors import OUT_OF_REACH, Delayed, Stopped
from gischat.bridges.participant import REDIS_FAULTS
from gischat.broker.log_throttle import LogThrottle, described
from gischat.broker.outbox import Entry
from gischat.observability import metrics
from gischat.timings import Timings

log = logging.getLogger(__name__)

T = TypeVar("T")


class Retrying:
    """A bridge or an outgoing hook, which retries operations while the other side or Redis is unavailable."""

    def __init__(
        self, kind: str, timings: Timings, stop: asyncio.Event | None = None, trouble: LogThrottle | None = None
    ) -> None:
        """
        Args:
            kind: its label in metrics.
            stop: set when the process stops.
            trouble: the throttle for the failures of all operations; without it, each operation has its own.
        """
        self._kind = kind
        self.timings = timings
        self.stop = stop or asyncio.Event()
        self._trouble = trouble

    def on_out_of_reach(self) -> None:
        """Called when the other side cannot be reached."""

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
            Delayed: the next attempt would be after that time.
            Stopped: the process stops.
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

    async def follow(
        self, cursor: OutboxCursor, news: asyncio.Event, pass_on: Callable[[Entry], Awaitable[None]]
    ) -> None:
        """Pass on a channel's publications, in order, until the process stops; one in flight is finished.

        Args:
            news: set after each publication; others may clear it, too, so it is not awaited for long.

        Raises:
            Stopped: the process stops.
        """
        while not self.stop.is_set():
            news.clear()
            entries = await self.attempt(cursor.read)
            for entry in entries:
                await pass_on(entry)
                cursor.advance(entry)
                if self.stop.is_set():
                    break
            if entries:
                await self.attempt(cursor.save)
            else:
                with contextlib.suppress(TimeoutError):
                    await self.until_stopped(asyncio.wait_for(news.wait(), self.timings.outbox_read))
                await self.attempt(cursor.rewind)
