"""The order in which heavy workers, with their sandboxes, do waiting jobs on a real Valkey."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache

import msgspec
import pytest

from gischat.broker.discovery import connect
from gischat.broker.entries import Job, Outcome, Publication
from gischat.broker.inbox import EnqueueStatus
from gischat.protocol.messages import Lane, new_id
from gischat.timings import Timings
from tests.gischat.broker.wire import ALIVE, CHANNEL, Wire, start, wire
from tests.support.contract import sample
from tests.support.pictures import as_base64, encoded, quarters
from tests.support.processes import Valkey
from tests.support.waiting import DEADLINE, LOOK
from tests.worker.pictures import jpeg_of_many_scans
from worker.fairness import Charge, Person
from worker.heavy_consumer import HeavyConsumer
from worker.inbox_reader import InboxReader
from worker.sandbox import Sandbox
from worker.shared_charges import SharedCharges

__all__ = ["start", "wire"]  # fixtures

# No worker claims another's jobs, and all poll often.
TIMINGS = Timings(reclaim_heavy=600.0, consumer_stalled=600.0, maintenance=0.1, inbox_read=0.1)

pytestmark = pytest.mark.usefixtures("io_loop")

JANE, JOHN, MALLORY, MURIEL = (f"192.0.2.{number}" for number in range(1, 5))


@cache
def ordinary() -> str:
    return as_base64(encoded(quarters(400, 300), "JPEG"))


@cache
def costly() -> str:
    """A picture that takes a worker a third of a second."""
    return as_base64(jpeg_of_many_scans(2000, 2000, 50))


class HeavyLane:
    """A channel's heavy lane, and the photos done in it, by name."""

    def __init__(self, wire: Wire, url: str, sandbox: Sandbox) -> None:
        self.wire = wire
        self._url = url
        self._sandbox = sandbox
        self._names: dict[str, str] = {}  # of photos, by source

    def job(self, name: str, client: str, image_data: str = "", *, connection: int = 0) -> Job:
        id = new_id()
        body = msgspec.json.encode(sample("image", id=id, timestamp=1_700_000_000, image_data=image_data or ordinary()))
        connection = connection or len(self._names) + 1
        job = replace(self.wire.job(body, type="image", id=id, connection=connection), client=client)
        self._names[str(job.source)] = name
        return job

    async def send(self, *jobs: Job) -> None:
        await self.wire.front.presence.renew_lease(CHANNEL, ALIVE)
        for job in jobs:
            assert (await self.wire.front.inbox.enqueue(CHANNEL, Lane.HEAVY, job, 0)).status is EnqueueStatus.ENQUEUED

    async def done(self) -> list[str]:
        return [self._names[str(one.source)] for one in await self.ends()]

    async def ends(self) -> list[Publication]:
        return [one for one in await self.wire.outbox() if one.source is not None]

    async def all_done(self) -> list[str]:
        """Wait until all jobs are done."""
        async with asyncio.timeout(DEADLINE):
            while len(done := await self.done()) < len(self._names):
                await asyncio.sleep(LOOK)
        return done

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[HeavyConsumer]:
        settings, stop = self.wire.settings, asyncio.Event()
        inbox, committer, _ = self.wire.new_worker("heavy-1", Lane.HEAVY)
        async with connect(self._url, name="heavy-1-reader") as reading:
            reader = InboxReader(settings, Lane.HEAVY, [CHANNEL], reading)
            book = SharedCharges(settings, self.wire.redis)
            consumer = HeavyConsumer(inbox, committer, settings, self._sandbox, [reader], book, TIMINGS)
            run = asyncio.create_task(consumer.run(stop))
            try:
                yield consumer
            finally:
                stop.set()
                await run


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One for all tests: a start takes longer than most of them."""
    sandbox = Sandbox(seconds=600, memory=2**30, preload=("worker.attempts",))
    yield sandbox
    asyncio.run(sandbox.close())


@pytest.fixture
def lane(wire: Wire, valkey: Valkey, sandbox: Sandbox) -> HeavyLane:
    return HeavyLane(wire, valkey.url, sandbox)


async def test_costly_pictures_wait_for_ordinary_ones_that_arrive_later(lane: HeavyLane) -> None:
    """The content decides: the costly picture has fewer bytes than a photo."""
    await lane.send(
        lane.job("mallory's", MALLORY, costly()),
        lane.job("muriel's", MURIEL, costly()),
        lane.job("jane's", JANE),
        lane.job("john's", JOHN),
    )
    async with lane.worker():
        assert (await lane.all_done())[:2] == ["jane's", "john's"]
    # And each is published once
    assert [one.outcome for one in await lane.ends()] == [Outcome.PUBLISHED] * 4
    assert await lane.wire.inbox_bytes(Lane.HEAVY) == 0


async def test_work_of_other_workers_counts(lane: HeavyLane) -> None:
    SharedCharges(lane.wire.settings, lane.wire.redis).write(Charge(Person(JANE, "front/1"), 5.0))
    await lane.send(lane.job("jane's", JANE), lane.job("john's", JOHN))
    async with lane.worker():
        assert await lane.all_done() == ["john's", "jane's"]


async def test_refused_pictures_count_as_work(lane: HeavyLane) -> None:
    damaged = as_base64(encoded(quarters(400, 300), "PNG")[:-100])
    await lane.send(lane.job("no picture", JANE, damaged), lane.job("jane's", JANE), lane.job("john's", JOHN))
    async with lane.worker():
        assert await lane.all_done() == ["no picture", "john's", "jane's"]


async def test_after_a_flush_jobs_with_earlier_entry_ids_are_done(lane: HeavyLane) -> None:
    """The new Redis may have another clock, or an old one may be set back."""
    redis, inbox = lane.wire.redis, lane.wire.keys.inbox(Lane.HEAVY)
    async with lane.worker():
        await lane.send(lane.job("before", JANE))
        await lane.all_done()
        await redis.call("DEL", inbox, key=inbox)
        job = lane.job("after", JANE)
        described = {"source": str(job.source), "type": "image", "id": job.id, "body": job.body}
        fields = [part for pair in (described | {"client": JANE, "sender": ""}).items() for part in pair]
        await redis.call("XADD", inbox, "1-1", *fields, key=inbox)
        assert await lane.all_done() == ["before", "after"]
