"""The light lane: many jobs at once, since each takes microseconds."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from gischat.broker.inbox_consumer import Delivery, InboxConsumer, Work
from gischat.broker.presence import Presence
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable, Uncompliant
from gischat.protocol.types import PLACED_TYPES
from gischat.timings import Timings
from worker import handlers, placing, reaper
from worker.commit import Committer
from worker.consumer import Consumer
from worker.effects import Effect, Publish, Refuse
from worker.failures import MAX_DELIVERIES, failed, given_up
from worker.placing import Placer

log = logging.getLogger(__name__)


class LightConsumer(Consumer):
    """Commits whole batches: one read for many jobs, and one write for all of their effects with the next read.

    A message with an unknown CRS is committed by itself, after the CRS has been looked up.
    """

    batch = 128
    waits_for_jobs = False

    def __init__(
        self,
        inbox: InboxConsumer,
        committer: Committer,
        presence: Presence,
        placer: Placer,
        timings: Timings = Timings(),
    ) -> None:
        super().__init__(inbox, committer, timings)
        self._presence = presence
        self._placer = placer
        self._placing: dict[tuple[str, bytes], asyncio.Task[None]] = {}  # by channel and entry
        self._ends: list[asyncio.Future[bool]] = []  # commits of the last batch, in flight
        self._batch: Sequence[Delivery] = ()
        self._since = 0.0  # start of the batch
        self._repaired_at = 0.0  # time of the last thorough repair of nicknames

    @property
    def _reclaim(self) -> float:
        return self._timings.reclaim_light

    async def run(self, stop: asyncio.Event) -> None:
        await super().run(stop)
        if self._placing:  # the next worker reclaims those that do not end soon
            await asyncio.wait(self._placing.values(), timeout=self._timings.inbox_read)
            for task in list(self._placing.values()):
                task.cancel()
        for error in await self._errors_of_ends():
            log.warning("the end of a job could not be told: %s", error)

    async def _read_and_work(self) -> None:
        if not self.inbox.channels:
            await asyncio.sleep(self._timings.inbox_read)
            return
        reading = self.inbox.begin_read(self.inbox.channels, count=self.batch, wait=self._timings.inbox_read)
        errors = await self._errors_of_ends()
        held = self.inbox.deliveries(await reading)
        if errors:
            raise errors[0]
        self._since = time.monotonic()
        effects = self._effects(held)
        self._batch = [one for one, _ in effects]
        self._ends = [self.committer.commit(one, effect, before_reading=True) for one, effect in effects]

    async def _errors_of_ends(self) -> list[Exception]:
        ends, self._ends = self._ends, []
        errors: list[Exception] = []
        for end in ends:  # they come together; `gather` would take a turn of the loop more
            try:
                await end
            except Exception as error:
                errors.append(error)
        if ends and not errors:
            self._measure(self._batch, self._since)
        return errors

    async def _work(self, held: Sequence[Delivery]) -> None:
        since = time.monotonic()
        effects = self._effects(held)
        ended = [self.committer.commit(one, effect) for one, effect in effects]
        for error in await asyncio.gather(*ended, return_exceptions=True):
            if isinstance(error, BaseException):
                raise error
        self._measure([one for one, _ in effects], since)

    def _effects(self, held: Sequence[Delivery]) -> list[tuple[Delivery, Effect]]:
        """The effects of jobs that can be committed now; the others are started."""
        effects = []
        for one in held:
            if (one.channel, one.entry) in self._placing:  # it takes long, and was reclaimed
                continue
            effect = _light_effect(one)
            if isinstance(effect, Publish) and one.job.type in PLACED_TYPES:
                placed = self._placer.now(one.job, effect)
                if placed is None:
                    task = asyncio.create_task(self._end_later(one, effect))
                    self._placing[one.channel, one.entry] = task
                    continue
                effect = placed
                placing.count(one.job.type, effect)
            effects.append((one, effect))
        return effects

    async def _end_later(self, held: Delivery, effect: Publish) -> None:
        """Commit a job after looking up its CRS."""
        since = time.monotonic()
        keeping = asyncio.create_task(self._renew_claim(held))
        try:
            effect = await self._placer.later(held.job, effect)
            placing.count(held.job.type, effect)
            await self.committer.commit(held, effect)
            self._measure([held], since)
        except (ConnectionError, Unavailable, RedisError) as error:
            log.debug("redis was lost in between: %s", error)
            self._recover_pending = True
        finally:
            keeping.cancel()
            del self._placing[held.channel, held.entry]

    async def _maintenance(self) -> Mapping[str, Work]:
        found = await super()._maintenance()
        if self.inbox.connected_seconds < self._timings.reap_grace:
            return found
        await reaper.reap(found, self._presence)
        is_thorough = time.monotonic() - self._repaired_at > self._timings.nickname_repair
        await reaper.repair_nicknames(found, self._presence, self._timings.lease, is_thorough=is_thorough)
        if is_thorough:
            self._repaired_at = time.monotonic()
        return found


def _light_effect(held: Delivery) -> Effect:
    if held.deliveries > MAX_DELIVERIES:
        return given_up(held)
    try:
        return handlers.LIGHT[held.job.type](held.job)
    except Uncompliant as error:
        return Refuse(error.reason)
    except Exception as error:
        return failed(held, error)
