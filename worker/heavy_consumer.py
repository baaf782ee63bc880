"""The heavy lane: one job at a time, in the sandbox and in a fair order, since each may take seconds."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence

from gischat.broker.inbox_consumer import ClaimFailure, Delivery, InboxConsumer, Work
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable
from gischat.settings import Settings
from gischat.timings import Timings
from worker import placing
from worker.attempts import Attempt, Postpone, attempt
from worker.commit import Committer
from worker.consumer import Consumer
from worker.effects import BodyMissing, DeadLetter, Effect, FailureReason, Refuse
from worker.failures import MAX_DELIVERIES, failed, given_up, log_fields
from worker.fairness import ORDINARY_SECONDS, Charge, FairQueue, Ledger, Person, WaitingJob, estimated_seconds
from worker.inbox_reader import InboxReader
from worker.sandbox import OutOfMemory, Sandbox, SandboxError, StartFailed, TimedOut
from worker.shared_charges import SharedCharges

log = logging.getLogger(__name__)

MIN_CHARGE_SECONDS = 0.01  # of work; less is not recorded

TOOK_TOO_LONG = "This message takes too long to process. Please send something smaller or simpler. It was not sent."
BODY_LOST = "The server has lost this message. It was not sent: please send it again."
TAKES_TOO_MUCH = "This message takes too much memory to process. Please send something smaller."


class HeavyConsumer(Consumer):
    """Takes one job after another, in the order of `worker.fairness`.

    It reads the inboxes without claiming anything, and then claims the job that it chooses.
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
        """Queue arriving jobs, also while a job is being processed."""
        while True:
            try:
                arrivals = await reader.read(self._timings.inbox_read, self.inbox.channels)
            except (ConnectionError, Unavailable) as error:
                log.debug("redis was lost in between: %s", error)
                await asyncio.sleep(self._timings.read_pause)
                continue
            except RedisError as error:
                if not str(error).startswith("UNBLOCKED"):  # as a failover or a flush does
                    log.debug("redis answered: %s", error)
                await asyncio.sleep(self._timings.read_fault_pause)
                continue
            for channel, entry, job in arrivals:
                self._queue.add(channel, entry, job, time.monotonic())
            if arrivals:
                self._has_come.set()

    async def _maintenance(self) -> Mapping[str, Work]:
        found = await super()._maintenance()
        for channel in self.inbox.channels:
            # In a Redis that was flushed meanwhile, new entries may have ids before those seen.
            if not self._queue.knows_of(channel):
                for reader in self._readers:
                    reader.reread(channel)
        return found

    async def _read_and_work(self) -> None:
        if self._queue:
            await self._read_charges()
        # A photo may arrive in the same turn of the loop as the end of the last job: include it in the choice.
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
            # Its worker may release it.
            waiting.not_before = time.monotonic() + self._timings.job_held
            self._queue.put_back(waiting)

    async def _read_charges(self) -> None:
        """Read the charges of other workers; do without them if Redis does not answer."""
        now = time.monotonic()
        if now < self._charges_read_at + self._timings.work_heard:
            return
        try:
            async with asyncio.timeout(self._timings.work_heard):
                for age, charge in await self._shared_charges.read():
                    self._ledger.charge(charge, now - age)
        except (TimeoutError, ConnectionError, Unavailable, RedisError) as error:
            log.debug("the charges of other workers could not be read: %s", error)
            now += self._timings.inbox_read
        self._charges_read_at = now

    async def _process_or_postpone(self, held: Delivery, waiting: WaitingJob) -> None:
        """Do a job, unless it is predicted to be long while another one waits: then rank it anew."""
        most_seconds = None if waiting.is_predicted or not self._queue else ORDINARY_SECONDS
        seconds = await self._process(held, waiting.seconds, most_seconds)
        if seconds is not None:
            waiting.seconds, waiting.is_predicted = seconds, True
            self._queue.put_back(waiting)

    async def _work(self, held: Sequence[Delivery]) -> None:
        for one in held:
            await self._process(one, estimated_seconds(one.job.size), None)

    async def _process(self, held: Delivery, expected_seconds: float, most_seconds: float | None) -> float | None:
        """Do and commit a job. One that is predicted to take longer than `most_seconds` is released instead.

        Returns the predicted seconds of a released job.
        """
        since = time.monotonic()
        person = Person.of(held.job)
        charged = max(expected_seconds, ORDINARY_SECONDS)
        self._charge(Charge(person, charged))  # beforehand, since other workers choose meanwhile
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
        if not await self.committer.commit_large(held, effect):
            # Another worker has ended it; or Redis has lost our claim, and the entry must be read again.
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
        """The effect of a job and its time (see `worker.attempts`): the whole time if the child reported none."""
        since = time.monotonic()
        done = await self._done(held, most_seconds)
        if isinstance(done, Attempt):
            return done
        return Attempt(done, min(time.monotonic() - since, self._settings.job_seconds))

    async def _done(self, held: Delivery, most_seconds: float | None) -> Attempt | Effect:
        if not held.job.is_complete:
            log.error("a job's body is not there", extra=log_fields(held))
            return BodyMissing(BODY_LOST)
        if held.deliveries > MAX_DELIVERIES:
            return given_up(held)
        reason = ""
        job = held.job
        is_placed = job.type == "geojson"
        for _ in range(MAX_DELIVERIES + is_placed):
            try:
                arguments = job.type, job.body, self._settings, most_seconds
                return await self._sandbox.run(attempt, *arguments, is_placed=is_placed)
            except SandboxError as error:
                if is_placed:  # perhaps only its CRS breaks its reader
                    log.warning("a layer is done without its place: %s", error, extra=log_fields(held))
                    is_placed = False
                    continue
                if isinstance(error, OutOfMemory):
                    log.warning("a job took too much memory", extra=log_fields(held))
                    return Refuse(TAKES_TOO_MUCH)
                if isinstance(error, TimedOut):
                    # Another attempt would take as long, and delay all others' pictures.
                    log.error("a job becomes a dead letter: it %s", error, extra=log_fields(held))
                    return DeadLetter(f"It {error}.", TOOK_TOO_LONG, failure=FailureReason.TIMED_OUT)
                reason = f"{type(error).__name__}: {error}"
                log.error("a job ended the sandbox: %s", reason, extra=log_fields(held))
            except StartFailed:
                raise  # not the job's fault: this worker cannot do any
            except Exception as error:
                return failed(held, error)
        return DeadLetter(f"{MAX_DELIVERIES} times {reason}", failure=FailureReason.CRASHED)
