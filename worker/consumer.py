"""A worker's loop over a lane: it reads jobs, reclaims those of workers that are gone, and recovers after a loss."""

import asyncio
import contextlib
import logging
import math
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence

from gischat.broker.inbox_consumer import Delivery, InboxConsumer, Work
from gischat.broker.resp_errors import WRONG_TYPE, RedisError, ResponseError
from gischat.errors import Unavailable
from gischat.observability import metrics
from gischat.timings import Timings
from worker import handlers
from worker.commit import Committer

log = logging.getLogger(__name__)


class Consumer(ABC):
    """A worker's loop over one lane; `last_progress_at` is when it last went on, by `time.monotonic`."""

    def __init__(self, inbox: InboxConsumer, committer: Committer, timings: Timings = Timings()) -> None:
        self.inbox = inbox
        self.committer = committer
        self._timings = timings
        self._maintained_at = 0.0
        self._consumers_cleaned_at = -math.inf
        self.last_progress_at = time.monotonic()
        self._recover_pending = True  # jobs may be delivered under our name without our knowledge
        self._reclaimed = metrics.JOBS_RECLAIMED.labels(inbox.lane).inc
        types = handlers.HEAVY if inbox.lane.is_sandboxed else handlers.LIGHT
        self._measured = {type: metrics.JOB_SECONDS.labels(type).observe_many for type in types}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then end the jobs held and return."""
        while not stop.is_set():
            try:
                await self._run_once()
            except (ConnectionError, Unavailable) as error:
                log.debug("redis was lost in between: %s", error)
                self._recover_pending = True
                await asyncio.sleep(self._timings.read_pause)
            except ResponseError as error:
                self._recover_pending = True
                if str(error).startswith(WRONG_TYPE):
                    await self._leave_damaged_alone()
                else:
                    await self._recreate_groups(error)

    async def _leave_damaged_alone(self) -> None:
        with contextlib.suppress(ConnectionError, Unavailable, RedisError):
            await self.inbox.damage.check_all()
        await asyncio.sleep(self._timings.read_pause)

    async def _run_once(self) -> None:
        if self._recover_pending:
            await self.inbox.load_scripts()
            for channel in self.inbox.channels:
                while held := await self.inbox.claim_own(channel, self.batch):
                    await self._work(held)
            self._recover_pending = False
        if time.monotonic() - self._maintained_at > self._timings.maintenance:
            self._maintained_at = time.monotonic()
            await self._maintenance()
        await self._read_and_work()
        self.last_progress_at = time.monotonic()

    async def _recreate_groups(self, error: ResponseError) -> None:
        # A flush takes the groups away, before a read (NOGROUP) or under a read that waits (UNBLOCKED).
        if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
            log.debug("redis answered: %s", error)
            await asyncio.sleep(self._timings.read_fault_pause)
        try:
            await self.inbox.create_groups()
        except (ConnectionError, Unavailable, ResponseError) as failure:
            log.debug("the consumer groups could not be made: %s", failure)

    async def _maintenance(self) -> Mapping[str, Work]:
        found = await self.inbox.sweep(self._reclaim)
        for channel in [channel for channel, work in found.items() if work.is_stale]:
            while held := await self.inbox.claim_stale(channel, self._reclaim, self.batch):
                log.warning("took over %d jobs of a worker that is gone", len(held), extra={"channel": channel})
                self._reclaimed(len(held))
                await self._work(held)
        if time.monotonic() - self._consumers_cleaned_at > self._timings.consumers:
            self._consumers_cleaned_at = time.monotonic()
            for channel in self.inbox.channels:
                await self.inbox.delete_idle_consumers(channel, self._timings.consumer_gone)
        return found

    def _measure(self, held: Sequence[Delivery], since: float) -> None:
        """Measure ended jobs that were started at that time; those of unknown types became dead letters."""
        took = time.monotonic() - since
        for type, number in Counter(one.job.type for one in held).items():
            if type in self._measured:
                self._measured[type](took, number)

    async def _renew_claim(self, held: Delivery) -> None:
        """Keep other workers from reclaiming a job that is being processed; several renewals in a row may fail."""
        while True:
            await asyncio.sleep(self._reclaim / 4)
            with contextlib.suppress(ConnectionError, Unavailable, ResponseError):
                await self.inbox.renew_claim(held)
            if self.waits_for_jobs:
                self.last_progress_at = time.monotonic()

    batch: int
    waits_for_jobs: bool  # its loop goes on only when a job has ended

    @property
    @abstractmethod
    def _reclaim(self) -> float:
        """Seconds after which a job is reclaimed from a worker that did not renew its claim."""

    @abstractmethod
    async def _read_and_work(self) -> None:
        """Wait for new jobs, for a limited time, and do them."""

    @abstractmethod
    async def _work(self, held: Sequence[Delivery]) -> None:
        """Do jobs; returns when they have ended."""
