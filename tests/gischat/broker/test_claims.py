"""A heavy worker sees what waits, and takes what it chooses: each job goes to one worker, and none is lost."""

import asyncio
import math
from dataclasses import replace

import pytest

from gischat.broker.discovery import connect
from gischat.broker.entries import Job
from gischat.broker.inbox import EnqueueStatus
from gischat.broker.inbox_consumer import ClaimFailure, Delivery
from gischat.broker.keys import GROUP
from gischat.broker.resp_errors import ResponseError
from gischat.broker.scripts import CHUNK_BYTES
from gischat.protocol.messages import Lane
from tests.gischat.broker.wire import CHANNEL, Start, Wire, Worker
from tests.support.processes import Valkey
from tests.support.shares import JANE, JOHN, ROOM, SHARES
from worker.effects import Acknowledge
from worker.fairness import Charge, Person
from worker.inbox_reader import Arrival, InboxReader
from worker.shared_charges import SharedCharges

pytestmark = pytest.mark.usefixtures("io_loop")


def photo(wire: Wire, client: str = JANE, size: int = 1000) -> Job:
    return replace(wire.job(b"x" * size, type="image"), client=client)


async def send(wire: Wire, job: Job, *, again: bool = False) -> EnqueueStatus:
    return (await wire.offer(job, Lane.HEAVY, again=again)).status


def reader(wire: Wire) -> InboxReader:
    return InboxReader(wire.settings, Lane.HEAVY, [CHANNEL], wire.redis)


async def arrivals(wire: Wire, number: int = 1) -> list[Arrival]:
    """So many photos that wait, as a worker sees them."""
    for _ in range(number):
        assert await send(wire, photo(wire)) == EnqueueStatus.ENQUEUED
    return await reader(wire).read(1)


async def claimed(claimer: Worker, entry: bytes) -> Delivery:
    held = await claimer.inbox.claim(CHANNEL, entry)
    assert isinstance(held, Delivery)
    return held


async def pending(wire: Wire) -> list[tuple[bytes, bytes, int]]:
    """Entry, worker and deliveries of what workers hold."""
    inbox = wire.keys.inbox(Lane.HEAVY)
    found = await wire.redis.call("XPENDING", inbox, GROUP, "-", "+", 100, key=inbox)
    return [(entry, name, times) for entry, name, _, times in found]


async def test_what_waits_is_seen_once_in_its_order_and_without_its_body(wire: Wire) -> None:
    reading = reader(wire)
    jobs = [photo(wire, size=size) for size in (100, CHUNK_BYTES, 3 * CHUNK_BYTES)]
    for job in jobs:
        await send(wire, job)
    first = await reading.read(1)
    seen = [(arrival.job.source, arrival.job.client, arrival.job.size, arrival.job.body) for arrival in first]
    assert seen == [(job.source, job.client, job.size, b"") for job in jobs]
    assert await reading.read(0.01) == []
    # Who begins anew sees all that is there
    reading.reread(CHANNEL)
    assert await reading.read(1) == first


async def test_what_comes_wakes_who_waits_for_it(wire: Wire, valkey: Valkey) -> None:
    async with connect(valkey.url, name="test-reader") as redis:
        waits = asyncio.create_task(InboxReader(wire.settings, Lane.HEAVY, [CHANNEL], redis).read(2))
        await send(wire, job := photo(wire))
        ((channel, _, seen),) = await waits
        assert (channel, seen.source) == (CHANNEL, job.source)


async def test_a_worker_takes_what_it_chooses_and_ends_it(wire: Wire) -> None:
    first, second, third = await arrivals(wire, 3)
    claimer = await wire.heavy()
    held = await claimed(claimer, second.entry)
    assert (held.job.body, held.deliveries, held.job.is_complete) == (b"x" * 1000, 1, True)
    # Who asks again, for the answer was lost, has it
    assert await claimed(claimer, second.entry) == held
    assert await pending(wire) == [(second.entry, b"heavy-1", 1)]
    assert await claimer.committer.commit(held, Acknowledge())
    # It is gone, and the others wait
    assert await claimer.inbox.claim(CHANNEL, second.entry) is ClaimFailure.ENDED
    assert [one.entry for one in await reader(wire).read(1)] == [first.entry, third.entry]
    assert await wire.inbox_bytes(Lane.HEAVY) == 2000


async def test_a_job_goes_to_one_of_many_workers(wire: Wire) -> None:
    (arrival,) = await arrivals(wire)
    workers = [await wire.heavy(f"heavy-{number}") for number in range(5)]
    answers = await asyncio.gather(*(claimer.inbox.claim(CHANNEL, arrival.entry) for claimer in workers))
    assert sum(isinstance(answer, Delivery) for answer in answers) == 1
    assert answers.count(ClaimFailure.CLAIMED) == 4


async def test_a_job_that_is_given_back_waits_for_whoever_comes(wire: Wire) -> None:
    (arrival,) = await arrivals(wire)
    claimer, other = await wire.heavy(), await wire.heavy("heavy-2")
    held = await claimed(claimer, arrival.entry)
    await claimer.inbox.release(held)
    assert await pending(wire) == []
    taken = await claimed(other, arrival.entry)
    assert taken == held
    # Who gave it back, and says so again, takes it from nobody
    await claimer.inbox.release(held)
    assert await pending(wire) == [(arrival.entry, b"heavy-2", 1)]
    assert await claimer.committer.commit(taken, Acknowledge())


async def test_what_a_worker_held_when_it_died_goes_to_another_and_is_counted(wire: Wire) -> None:
    (arrival,) = await arrivals(wire)
    await claimed(await wire.heavy("dead"), arrival.entry)
    (held,) = await (await wire.heavy()).inbox.claim_stale(CHANNEL, 0, 1)
    assert (held.entry, held.deliveries) == (arrival.entry, 2)
    # … and its successor of the same name finds it
    (held,) = await (await wire.heavy()).inbox.claim_own(CHANNEL, 1)
    assert held.deliveries == 3


async def test_where_the_group_was_flushed_away_the_worker_is_told_so(wire: Wire) -> None:
    (arrival,) = await arrivals(wire)
    with pytest.raises(ResponseError, match="NOGROUP"):
        await wire.new_worker("heavy-1", Lane.HEAVY).inbox.claim(CHANNEL, arrival.entry)


async def test_the_backlog_tells_the_oldest_jobs_age_and_how_long_no_worker_has_shown_itself(wire: Wire) -> None:
    first, _ = await arrivals(wire, 2)
    await wire.let_a_moment_pass()
    (backlog,) = await wire.front.inbox.backlogs([Lane.HEAVY])
    assert (backlog.jobs, backlog.age > 0, backlog.idle) == (2, True, math.inf)
    # Whether it is held or not
    await claimed(await wire.heavy(), first.entry)
    await wire.let_a_moment_pass()
    (later,) = await wire.front.inbox.backlogs([Lane.HEAVY])
    assert (later.jobs, later.age > backlog.age, later.idle < math.inf) == (2, True, True)


# Shares


async def test_an_address_may_have_as_much_waiting_as_is_free_for_others(start: Start) -> None:
    wire = start(max_inbox_bytes=ROOM * 1000)
    await wire.renew()
    *shares, _, last = SHARES
    assert [(address, await send(wire, photo(wire, address))) for address, _ in shares] == shares
    # What was taken before is not refused for its address when it comes again
    assert await send(wire, photo(wire, JANE), again=True) == EnqueueStatus.ENQUEUED
    assert await send(wire, photo(wire, last[0])) == last[1]


async def test_when_its_jobs_have_ended_an_address_has_its_share_again(start: Start) -> None:
    wire = start(max_inbox_bytes=10_000)
    await wire.renew()
    claimer, reading = await wire.heavy(), reader(wire)
    for _ in range(2):
        answers = [await send(wire, photo(wire, JANE)) for _ in range(6)]
        assert answers == [EnqueueStatus.ENQUEUED] * 5 + [EnqueueStatus.ADDRESS_QUEUE_FULL]
        for arrival in await reading.read(1):
            await claimer.committer.commit(await claimed(claimer, arrival.entry), Acknowledge())
    # And nothing is kept of it
    assert not [field for field in await wire.hash("counters") if JANE in field]


# What was done for whom


async def test_workers_hear_of_each_others_work_and_not_of_their_own(wire: Wire) -> None:
    one, other = (SharedCharges(wire.settings, wire.redis) for _ in range(2))
    charges = [Charge(Person(JANE, "front/1"), 1.5), Charge(Person(JOHN, "front/2"), -0.25)]
    for charge in charges:
        one.write(charge)
    # Who comes later hears of what was done before
    heard = await other.read()
    assert [charge for _, charge in heard] == charges
    ages = [age for age, _ in heard]
    assert 60 > ages[0] >= ages[1] >= 0
    assert (await other.read(), await one.read()) == ([], [])
    other.write(charges[0])
    assert [charge for _, charge in await one.read()] == charges[:1]
