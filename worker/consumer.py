"""The workers' loops: read jobs, reclaim those of dead workers, dead-letter failing ones. Know Redis, but no messages.

LightConsumer    many jobs at a time: each takes microseconds
HeavyConsumer    one at a time, in the sandbox, and fairly: each may take seconds
"""

import asyncio
import contextlib
import logging
import math
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

from gischat.broker.inbox_consumer import ClaimFailure, Delivery, InboxConsumer
from gischat.broker.presence import Presence
from gischat.broker.resp_errors import WRONG_TYPE, RedisError, ResponseError
from gischat.errors import Unavailable, Uncompliant
from gischat.observability import metrics
from gischat.protocol.types import PLACED_TYPES
from gischat.settings import Settings
from gischat.timings import Timings
from worker import handlers, placing, reaper
from worker.attempts import Attempt, Postpone, attempt
from worker.commit import Committer
from worker.effects import BodyMissing, DeadLetter, Effect, FailureReason, Publish, Refuse
from worker.fairness import ORDINARY_SECONDS, Charge, FairQueue, Ledger, Person, WaitingJob, estimated_seconds
from worker.inbox_reader import InboxReader
from worker.placing import Placer
from worker.sandbox import OutOfMemory, Sandbox, SandboxError, StartFailed, TimedOut
from worker.shared_charges import SharedCharges

log = logging.getLogger(__name__)

MIN_CHARGE_SECONDS = 0.01  # less work is not charged
MAX_DELIVERIES = 3  # to workers that died while they held the job; then it becomes a dead letter

TOOK_TOO_LONG = "This message takes too long to process. Please send something smaller or simpler. It was not sent."
BODY_LOST = "The server has lost this message. It was not sent: please send it again."
TAKES_TOO_MUCH = "This message takes too much memory to process. Please send something smaller."


class Consumer(ABC):
    """A worker's loop over one lane."""

    def __init__(self, inbox: InboxConsumer, committer: Committer, timings: Timings = Timings()) -> None:
        self.inbox = inbox
        self.committer = committer
        self._timings = timings
        self._maintained_at = 0.0
        self._consumers_cleaned_at = -math.inf
        self.last_progress_at = time.monotonic()  # when the loop last made progress
        self._recover_pending = True  # whether jobs may have been delivered to this worker without an answer
        self._reclaimed = metrics.JOBS_RECLAIMED.labels(inbox.lane).inc
        types = handlers.HEAVY if inbox.lane.is_sandboxed else handlers.LIGHT
        self._measured = {type: metrics.JOB_SECONDS.labels(type).observe_many for type in types}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then end the jobs held, and return."""
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
            await self.inbox.exclude_damaged()
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
        # A flush deletes the groups, before a read (NOGROUP) or during a blocking one (UNBLOCKED).
        if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
            log.debug("redis answered: %s", error)
            await asyncio.sleep(self._timings.read_fault_pause)
        try:
            await self.inbox.create_groups()
        except (ConnectionError, Unavailable, ResponseError) as failure:
            log.debug("the consumer groups could not be made: %s", failure)

    async def _maintenance(self) -> None:
        await self.inbox.exclude_damaged()
        for channel in self.inbox.channels:
            while held := await self.inbox.claim_stale(channel, self._reclaim, self.batch):
                log.warning("took over %d jobs of a worker that is gone", len(held), extra={"channel": channel})
                self._reclaimed(len(held))
                await self._work(held)
        if time.monotonic() - self._consumers_cleaned_at > self._timings.consumers:
            self._consumers_cleaned_at = time.monotonic()
            for channel in self.inbox.channels:
                await self.inbox.delete_idle_consumers(channel, self._timings.consumer_gone)

    def _measure(self, held: Sequence[Delivery], since: float) -> None:
        """Record the duration of jobs that have ended; jobs of unknown types became dead letters."""
        took = time.monotonic() - since
        for type, number in Counter(one.job.type for one in held).items():
            if type in self._measured:
                self._measured[type](took, number)

    async def _renew_claim(self, held: Delivery) -> None:
        """Renew the claim of a job while it is being processed; several renewals may fail."""
        while True:
            await asyncio.sleep(self._reclaim / 4)
            with contextlib.suppress(ConnectionError, Unavailable, ResponseError):
                await self.inbox.renew_claim(held)
            if self.waits_for_jobs:
                self.last_progress_at = time.monotonic()

    batch: int
    waits_for_jobs: bool  # whether the loop waits for the end of each job

    @property
    @abstractmethod
    def _reclaim(self) -> float:
        """Seconds without a renewed claim after which another worker may reclaim a job."""

    @abstractmethod
    async def _read_and_work(self) -> None:
        """Wait briefly for new jobs, and process them."""

    @abstractmethod
    async def _work(self, held: Sequence[Delivery]) -> None:
        """Process jobs; returns when they have ended."""


class LightConsumer(Consumer):
    """Processes batches: one read for many jobs, and one write for all their results, together with the next read.

    A message whose CRS is not known yet ends separately, after the CRS was looked up.
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
        self._ends: list[asyncio.Future[bool]] = []  # the commits of the last batch
        self._batch: Sequence[Delivery] = ()
        self._since = 0.0  # when it was started
        self._repaired_at = 0.0  # when all nicknames were last checked

    @property
    def _reclaim(self) -> float:
        return self._timings.reclaim_light

    async def run(self, stop: asyncio.Event) -> None:
        await super().run(stop)
        if self._placing:  # other workers claim those that do not end soon
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

    async def _errors_of_ends(self) -> list[BaseException]:
        ends, self._ends = self._ends, []
        answers = await asyncio.gather(*ends, return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
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
        """The effects of jobs that can be ended now; the others are started."""
        effects = []
        for one in held:
            if (one.channel, one.entry) in self._placing:  # delivered again before it has ended
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
        """End a job after its CRS was looked up."""
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

    async def _maintenance(self) -> None:
        await super()._maintenance()
        await reaper.reap(self.inbox, self._presence, self._timings)
        is_thorough = time.monotonic() - self._repaired_at > self._timings.nickname_repair
        await reaper.repair_nicknames(self.inbox, self._presence, self._timings, is_thorough=is_thorough)
        if is_thorough:
            self._repaired_at = time.monotonic()


class HeavyConsumer(Consumer):
    """Claims the next job by fairness, ends it, and claims the next.

    It reads the inboxes without claiming anything, and then claims the job that it chooses: see `worker.fairness`.
    """

    batch = 1
    waits_for_jobs = True

    def __init__(
        self,
        inbox: InboxConsumer,
        committer: Committer,
        settings: Settings,
        sandbox: Sandbox,
        readers: Sequence[InboxReader],
        shared_charges: SharedCharges,
        timings: Timings = Timings(),
    ) -> None:
        super().__init__(inbox, committer, timings)
        self._settings = settings
        self._sandbox = sandbox
        self._readers = readers
        self._shared_charges = shared_charges
        self._ledger = Ledger()
        self._queue = FairQueue(self._ledger)
        self._has_come = asyncio.Event()
        self._charges_read_at = 0.0

    @property
    def _reclaim(self) -> float:
        return self._timings.reclaim_heavy

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(self._watch(reader)) for reader in self._readers]
            await super().run(stop)
            for task in watching:
                task.cancel()

    async def _watch(self, reader: InboxReader) -> None:
        """Record new jobs, also while a job is being processed."""
        while True:
            try:
                arrivals = await reader.read(self._timings.inbox_read, self.inbox.channels)
            except (ConnectionError, Unavailable) as error:
                log.debug("redis was lost in between: %s", error)
                await asyncio.sleep(self._timings.read_pause)
                continue
            except RedisError as error:
                if not str(error).startswith("UNBLOCKED"):  # caused by a failover or a flush
                    log.debug("redis answered: %s", error)
                await asyncio.sleep(self._timings.read_fault_pause)
                continue
            for channel, entry, job in arrivals:
                self._queue.add(channel, entry, job, time.monotonic())
            if arrivals:
                self._has_come.set()

    async def _maintenance(self) -> None:
        await super()._maintenance()
        for channel in self.inbox.channels:
            # After a flush, new entries may have lower ids than those seen before.
            if not self._queue.knows_of(channel):
                for reader in self._readers:
                    reader.reread(channel)

    async def _read_and_work(self) -> None:
        if self._queue:
            await self._read_charges()
        # A photo and the end of the last job may be read in one turn of the loop: the photo counts in the choice.
        await asyncio.sleep(0)
        self._has_come.clear()
        waiting = self._queue.next(time.monotonic())
        if waiting is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._has_come.wait(), self._timings.inbox_read)
            return
        is_damaged = waiting.channel not in self.inbox.channels
        claimed = ClaimFailure.CLAIMED if is_damaged else await self.inbox.claim(waiting.channel, waiting.entry)
        self._queue.remove(waiting)
        if isinstance(claimed, Delivery):
            await self._process_or_postpone(claimed, waiting)
        elif claimed is ClaimFailure.CLAIMED:
            # The other worker may release it.
            waiting.not_before = time.monotonic() + self._timings.job_held
            self._queue.put_back(waiting)

    async def _read_charges(self) -> None:
        """Read the other workers' charges; continue without them if that fails."""
        now = time.monotonic()
        if now < self._charges_read_at + self._timings.work_heard:
            return
        try:
            async with asyncio.timeout(self._timings.work_heard):
                for age, charge in await self._shared_charges.read():
                    self._ledger.charge(charge, now - age)
        except (TimeoutError, ConnectionError, Unavailable, RedisError) as error:
            log.debug("what others did could not be read: %s", error)
            now += self._timings.inbox_read
        self._charges_read_at = now

    async def _process_or_postpone(self, held: Delivery, waiting: WaitingJob) -> None:
        """Process a job, unless it turns out to be long while others wait: then it is ranked again."""
        most_seconds = None if waiting.is_predicted or not self._queue else ORDINARY_SECONDS
        seconds = await self._process(held, waiting.seconds, most_seconds)
        if seconds is not None:
            waiting.seconds, waiting.is_predicted = seconds, True
            self._queue.put_back(waiting)

    async def _work(self, held: Sequence[Delivery]) -> None:
        for one in held:
            await self._process(one, estimated_seconds(one.job.size), None)

    async def _process(self, held: Delivery, expected_seconds: float, most_seconds: float | None) -> float | None:
        """End a job. If it will take longer than `most_seconds`, release it instead, and return its predicted cost."""
        since = time.monotonic()
        person = Person.of(held.job)
        charged = max(expected_seconds, ORDINARY_SECONDS)
        self._charge(Charge(person, charged))  # in advance, because other workers choose jobs meanwhile
        keeping = asyncio.create_task(self._renew_claim(held))
        try:
            effect, seconds = await self._attempt(held, most_seconds)
        finally:
            keeping.cancel()
        if held.job.type == "geojson":
            placing.count(held.job.type, effect)
        if isinstance(effect, Postpone):
            self._charge(Charge(person, seconds - charged))
            await self.inbox.release(held)
            return effect.seconds
        self._charge(Charge(person, max(seconds, ORDINARY_SECONDS) - charged))
        if not await self.committer.commit(held, effect):
            # Another worker has ended it, or Redis has lost the claim; in that case it must be read again.
            for reader in self._readers:
                reader.reread(held.channel)
        self._measure([held], since)
        return None

    def _charge(self, charge: Charge) -> None:
        if abs(charge.seconds) < MIN_CHARGE_SECONDS:
            return
        self._ledger.charge(charge, time.monotonic())
        self._shared_charges.write(charge)

    async def _attempt(self, held: Delivery, most_seconds: float | None) -> Attempt:
        """The effect of a job: see `worker.attempts`. If the child did not report its time, all of it counts."""
        since = time.monotonic()
        done = await self._done(held, most_seconds)
        if isinstance(done, Attempt):
            return done
        return Attempt(done, min(time.monotonic() - since, self._settings.job_seconds))

    async def _done(self, held: Delivery, most_seconds: float | None) -> Attempt | Effect:
        if not held.job.is_complete:
            log.error("a job's body is not there", extra=_log_fields(held))
            return BodyMissing(BODY_LOST)
        if held.deliveries > MAX_DELIVERIES:
            return _given_up(held)
        reason = ""
        job = held.job
        is_placed = job.type == "geojson"
        for _ in range(MAX_DELIVERIES + is_placed):
            try:
                arguments = job.type, job.body, self._settings, most_seconds
                return await self._sandbox.run(attempt, *arguments, is_placed=is_placed)
            except SandboxError as error:
                if is_placed:  # its CRS may have crashed the sandbox, while the layer itself is valid
                    log.warning("a layer is done without its place: %s", error, extra=_log_fields(held))
                    is_placed = False
                    continue
                if isinstance(error, OutOfMemory):
                    log.warning("a job took too much memory", extra=_log_fields(held))
                    return Refuse(TAKES_TOO_MUCH)
                if isinstance(error, TimedOut):
                    # Another attempt would take as long, and delay all other pictures meanwhile.
                    log.error("a job becomes a dead letter: it %s", error, extra=_log_fields(held))
                    return DeadLetter(f"It {error}.", TOOK_TOO_LONG, failure=FailureReason.TIMED_OUT)
                reason = f"{type(error).__name__}: {error}"
                log.error("a job ended the sandbox: %s", reason, extra=_log_fields(held))
            except StartFailed:
                raise  # not caused by the job: this worker cannot process any
            except Exception as error:
                return _failed(held, error)
        return DeadLetter(f"{MAX_DELIVERIES} times {reason}", failure=FailureReason.CRASHED)


def _light_effect(held: Delivery) -> Effect:
    if held.deliveries > MAX_DELIVERIES:
        return _given_up(held)
    try:
        return handlers.LIGHT[held.job.type](held.job)
    except Uncompliant as error:
        return Refuse(error.reason)
    except Exception as error:
        return _failed(held, error)


def _given_up(held: Delivery) -> Effect:
    log.error("a job becomes a dead letter: %d workers did not end it", held.deliveries - 1, extra=_log_fields(held))
    return DeadLetter(f"{held.deliveries - 1} workers did not end it.", failure=FailureReason.ABANDONED)


def _failed(held: Delivery, error: Exception) -> Effect:
    log.error("a job becomes a dead letter: it could not be processed", exc_info=error, extra=_log_fields(held))
    return DeadLetter(f"{type(error).__name__} in the worker.")


def _log_fields(held: Delivery) -> dict[str, object]:
    """The fields of log lines about a job: its source as in its front's own lines, but none of its content."""
    source = held.job.source
    return {
        "channel": held.channel,
        "type": held.job.type,
        "front": source.front,
        "connection": source.connection,
    }
