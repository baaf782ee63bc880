"""What consumers count, which job a heavy one does next, and how it tries again; with fakes of Redis and the sandbox.

What jobs come to with the real ones, tests/wire, tests/faults and tests/worker/test_heavy.py show.
"""

import asyncio
import time
from typing import Any, cast

import pytest

from gischat.broker.entries import Job, Source
from gischat.broker.inbox_consumer import ClaimFailure, Delivery, Work
from gischat.observability import metrics
from gischat.protocol.messages import Lane, new_id
from tests.support.settings import settings
from worker.attempts import Attempt
from worker.effects import DeadLetter, FailureReason, Publish
from worker.fairness import Charge, Person
from worker.heavy_consumer import HeavyConsumer
from worker.light_consumer import LightConsumer
from worker.placing import Placer
from worker.sandbox import Crashed, OutOfMemory, TimedOut


def held(type: str = "text") -> Delivery:
    return Delivery("QGIS", Lane.LIGHT, b"1-0", 1, Job(Source("front", 1, 1), type, new_id(), b'{"text": "hello"}'))


class FakeBroker:
    """A worker's inbox and committer, with jobs abandoned by another worker."""

    lane = Lane.LIGHT
    channels = ("QGIS",)
    connected_seconds = 0.0  # too short for maintenance

    def __init__(self, *left: Delivery) -> None:
        self.left = list(left)
        self.ended: list[Delivery] = []
        self.claimed: list[bytes] = []

    async def load_scripts(self) -> None:
        pass

    async def claim_own(self, channel: str, count: int) -> list[Delivery]:
        return []

    async def begin_read(self, channels: object, *, count: int, wait: float) -> list[Delivery]:
        return []

    def deliveries(self, answer: list[Delivery]) -> list[Delivery]:
        return answer

    async def sweep(self, idle: float) -> dict[str, Work]:
        return {channel: Work(*[True] * 5) for channel in self.channels}

    async def claim_stale(self, channel: str, idle: float, count: int) -> list[Delivery]:
        left, self.left = self.left, []
        return left

    async def delete_idle_consumers(self, channel: str, idle: float) -> int:
        return 0

    async def claim(self, channel: str, entry: bytes) -> ClaimFailure:
        self.claimed.append(entry)
        return ClaimFailure.ENDED

    def commit(self, held: Delivery, *_: object, **__: object) -> "asyncio.Future[bool]":
        self.ended.append(held)
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        ended.set_result(True)
        return ended


async def test_claimed_jobs_are_done_and_counted() -> None:
    broker = cast(Any, FakeBroker(held(), held("of another version")))
    consumer = LightConsumer(broker, broker, cast(Any, None), Placer(cast(Any, None)))
    before = metrics.JOBS_RECLAIMED.labels("light").amount
    await consumer._run_once()
    assert len(broker.ended) == 2
    assert metrics.JOBS_RECLAIMED.labels("light").amount == before + 2


def heavy(broker: FakeBroker, sandbox: object = None, charges: object = None) -> HeavyConsumer:
    return HeavyConsumer(cast(Any, broker), cast(Any, broker), settings(), cast(Any, sandbox), [], cast(Any, charges))


class NoCharges:
    async def read(self) -> list[Any]:
        return []


async def test_a_job_seen_in_the_same_turn_counts_in_the_choice_of_the_next() -> None:
    broker = FakeBroker()
    consumer = heavy(broker, charges=NoCharges())
    # Given a photo of a client whose last job was just done
    jane, john = (Job(Source("front", number, 1), "image", new_id(), b"", f"192.0.2.{number}") for number in (1, 2))
    consumer._ledger.charge(Charge(Person.of(jane), 1.0), time.monotonic())
    consumer._queue.add("QGIS", b"1-0", jane, time.monotonic())
    # When another client's photo is seen in the turn of the event loop in which the next job is chosen
    asyncio.get_running_loop().call_soon(consumer._queue.add, "QGIS", b"2-0", john, time.monotonic())
    await consumer._read_and_work()
    # Then that photo is next
    assert broker.claimed == [b"2-0"]


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
    attempt = await heavy(FakeBroker(), sandbox)._attempt(held(type_), None)
    assert sandbox.placed == placed
    if cause is None:
        assert attempt == DONE
    else:
        assert isinstance(attempt.effect, DeadLetter)
        assert attempt.effect.failure is cause
