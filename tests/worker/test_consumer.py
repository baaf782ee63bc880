"""What consumers count, which job a heavy one does next, and how it tries again.

What jobs come to with the real ones, tests/wire, tests/faults and tests/worker/test_heavy.py show.
"""

import asyncio
import time
from typing import Any, cast

import pytest

from gischat.broker.entries import Job, Outcome, Source
from gischat.broker.inbox_consumer import ClaimFailure, Delivery
from gischat.observability import metrics
from gischat.protocol.messages import Lane, new_id
from gischat.timings import Timings
from tests.gischat.broker.wire import Wire, encoded, start, wire
from tests.support.settings import settings
from tests.support.waiting import DEADLINE
from worker.attempts import Attempt
from worker.effects import DeadLetter, FailureReason, Publish
from worker.fairness import Charge, Person
from worker.heavy_consumer import HeavyConsumer
from worker.light_consumer import LightConsumer
from worker.placing import Placer
from worker.sandbox import Crashed, OutOfMemory, TimedOut

__all__ = ["start", "wire"]  # fixtures

pytestmark = pytest.mark.usefixtures("io_loop")


class FakeInbox:
    """A heavy worker's inbox, in which another worker has taken or ended the jobs that this one claims."""

    lane, channels = Lane.HEAVY, ("QGIS",)

    def __init__(self, answer: ClaimFailure = ClaimFailure.ENDED) -> None:
        self.answer = answer
        self.claimed: list[bytes] = []

    async def claim(self, channel: str, entry: bytes) -> ClaimFailure:
        self.claimed.append(entry)
        return self.answer


async def test_jobs_of_a_dead_worker_are_done_and_counted(wire: Wire) -> None:
    for type_ in ("text", "of another version"):
        await wire.hold(wire.job(encoded("text"), type=type_))
    inbox, committer, presence = wire.new_worker("worker-2")
    timings = Timings(reclaim_light=0.001, inbox_read=0.001, maintenance=0.001)
    consumer = LightConsumer(inbox, committer, presence, Placer(cast(Any, None)), timings)
    before = metrics.JOBS_RECLAIMED.labels("light").amount
    async with asyncio.timeout(DEADLINE):
        while len(await wire.outbox()) < 2:
            await consumer._run_once()
    assert metrics.JOBS_RECLAIMED.labels("light").amount == before + 2
    assert await wire.outcomes() == [Outcome.PUBLISHED, Outcome.DEAD_LETTERED]


def heavy(inbox: FakeInbox, sandbox: object = None, charges: object = None) -> HeavyConsumer:
    return HeavyConsumer(cast(Any, inbox), cast(Any, None), settings(), cast(Any, sandbox), [], cast(Any, charges))


class NoCharges:
    async def read(self) -> list[Any]:
        return []


async def test_a_job_seen_in_the_same_turn_counts_in_the_choice_of_the_next() -> None:
    inbox = FakeInbox()
    consumer = heavy(inbox, charges=NoCharges())
    # Given a photo of a client whose last job was just done
    jane, john = (Job(Source("front", number, 1), "image", new_id(), b"", f"192.0.2.{number}") for number in (1, 2))
    consumer._ledger.charge(Charge(Person.of(jane), 1.0), time.monotonic())
    consumer._queue.add("QGIS", b"1-0", jane, time.monotonic())
    # When another client's photo is seen in the turn of the event loop in which the next job is chosen
    asyncio.get_running_loop().call_soon(consumer._queue.add, "QGIS", b"2-0", john, time.monotonic())
    await consumer._read_and_work()
    # Then that photo is next
    assert inbox.claimed == [b"2-0"]


@pytest.mark.parametrize(("answer", "left"), [(ClaimFailure.CLAIMED, 1), (ClaimFailure.ENDED, 0)])
async def test_a_job_that_another_worker_has_is_claimed_again_later(answer: ClaimFailure, left: int) -> None:
    consumer = heavy(FakeInbox(answer), charges=NoCharges())
    job = Job(Source("front", 1, 1), "image", new_id(), b"", "192.0.2.1")
    consumer._queue.add("QGIS", b"1-0", job, time.monotonic())
    await consumer._read_and_work()
    assert len(consumer._queue) == left
    assert consumer._queue.next(time.monotonic()) is None


class FakeSandbox:
    """A `Sandbox` whose runs end as the test decides."""

    def __init__(self, outcomes: list[Attempt | Exception]) -> None:
        self._outcomes = iter(outcomes)
        self.placed: list[bool] = []  # for each run, whether a place was requested

    async def run(self, function: object, *arguments: object, is_placed: bool) -> Attempt:
        self.placed.append(is_placed)
        outcome = next(self._outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


DONE = Attempt(Publish(b"{}"), 0.1)
CRASHED = Crashed("ended by signal 11")


@pytest.mark.parametrize(
    ("type_", "outcomes", "cause", "placed"),
    [
        ("geojson", [DONE], None, [True]),
        ("geojson", [TimedOut("took too long"), DONE], None, [True, False]),
        ("geojson", [OutOfMemory("needed too much"), DONE], None, [True, False]),
        ("geojson", [CRASHED, CRASHED, DONE], None, [True, False, False]),
        ("geojson", [CRASHED] * 4, FailureReason.CRASHED, [True, False, False, False]),
        ("geojson", [TimedOut("took too long")] * 2, FailureReason.TIMED_OUT, [True, False]),
        ("geojson", [ValueError("a bug")], FailureReason.EXCEPTION, [True]),
        ("image", [CRASHED] * 3, FailureReason.CRASHED, [False] * 3),
    ],
)
async def test_a_layer_that_crashes_the_sandbox_is_handled_again_without_a_place(
    type_: str, outcomes: list[Any], cause: FailureReason | None, placed: list[bool]
) -> None:
    sandbox = FakeSandbox(outcomes)
    held = Delivery("QGIS", Lane.HEAVY, b"1-0", 1, Job(Source("front", 1, 1), type_, new_id(), b"{}"))
    attempt = await heavy(FakeInbox(), sandbox)._attempt(held, None)
    assert sandbox.placed == placed
    if cause is None:
        assert attempt == DONE
    else:
        assert isinstance(attempt.effect, DeadLetter)
        assert attempt.effect.failure is cause
