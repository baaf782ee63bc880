"""Large bodies lie beside their jobs, in parts: they come and go with them, whatever happens in between."""

import asyncio
from typing import Any

import pytest

from gischat.broker.client import TOO_BUSY
from gischat.broker.entries import Job, Outcome
from gischat.broker.inbox import EnqueueResult, EnqueueStatus
from gischat.broker.inbox_consumer import Delivery
from gischat.broker.scripts import CHUNK_BYTES
from gischat.errors import Unavailable
from gischat.protocol.messages import Lane, new_id, uncompliant
from gischat.timings import Timings
from tests.gischat.broker.wire import ALIVE, CHANNEL, Start, Wire, Worker
from worker.effects import Acknowledge, BodyMissing, DeadLetter, Effect, Publish, Refuse

pytestmark = pytest.mark.usefixtures("io_loop")

EXACT = bytes(range(256)) * (CHUNK_BYTES // 256) * 2  # fills its parts
LARGE = EXACT + b"and a bit"


async def parts(wire: Wire) -> dict[bytes, int]:
    """The parts that Redis holds, with the seconds until they expire; -1: never."""
    found = [key for key in await wire.redis.call("KEYS", "*", key="") if _belongs_to(wire, key)]
    return {key: int(await wire.redis.call("TTL", key, key="")) for key in found}


def _belongs_to(wire: Wire, key: bytes) -> bool:
    return wire.settings.instance_id.encode() in key and b":part:" in key


async def enqueue(wire: Wire, job: Job, *, again: bool = False, heard: int = 0) -> EnqueueStatus:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    return (await wire.front.inbox.enqueue(CHANNEL, Lane.HEAVY, job, heard, again=again)).status


async def hold(wire: Wire, job: Job) -> tuple[Worker, Delivery]:
    worker = wire.new_worker("heavy-1", Lane.HEAVY)
    await worker.inbox.create_groups()
    assert await enqueue(wire, job) == EnqueueStatus.ENQUEUED
    (held,) = await worker.inbox.read([CHANNEL], count=1)
    return worker, held


@pytest.mark.parametrize(
    ("body", "number"), [(b"{}", 1), (EXACT[:CHUNK_BYTES], 1), (EXACT[: CHUNK_BYTES + 1], 2), (EXACT, 2), (LARGE, 3)]
)
async def test_a_body_comes_out_as_it_went_in_and_is_gone_when_its_job_has_ended(
    wire: Wire, body: bytes, number: int
) -> None:
    # When a job is taken, its parts stay
    worker, held = await hold(wire, wire.job(body, type="image"))
    assert list((await parts(wire)).values()) == [-1] * number
    assert (held.job.body, held.job.size, held.job.is_complete) == (body, len(body), True)
    assert await wire.inbox_bytes(Lane.HEAVY) == len(body)
    # When it ends, nothing does
    assert await worker.committer.commit(held, Publish(b'"small"'))
    assert await parts(wire) == {}
    assert await wire.inbox_bytes(Lane.HEAVY) == 0
    assert [one.body for one in await wire.outbox()] == [b'"small"']


@pytest.mark.parametrize(
    "effect", [Refuse("No."), Acknowledge(), DeadLetter("It crashed."), BodyMissing("Lost.")], ids=repr
)
async def test_however_a_job_ends_its_parts_go_with_it(wire: Wire, effect: Effect) -> None:
    worker, held = await hold(wire, wire.job(LARGE, type="image"))
    assert await worker.committer.commit(held, effect)
    assert await parts(wire) == {}


async def test_a_dead_letter_holds_the_whole_body(wire: Wire) -> None:
    worker, held = await hold(wire, wire.job(LARGE, type="image"))
    await worker.committer.commit(held, DeadLetter("It crashed."))
    ((_, fields),) = await wire.redis.call("XRANGE", wire.keys.dead, "-", "+", key=wire.keys.dead)
    assert LARGE in fields


async def test_who_takes_a_job_over_has_its_body_too(wire: Wire) -> None:
    _, held = await hold(wire, wire.job(LARGE, type="image"))
    other = wire.new_worker("heavy-2", Lane.HEAVY)
    (taken_over,) = await other.inbox.claim_stale(CHANNEL, 0, 1)
    assert taken_over.job == held.job


async def test_a_job_that_was_taken_is_not_taken_again_while_it_has_not_ended(wire: Wire) -> None:
    """Its answer may have been lost. Nor are its parts any less there for it."""
    job = wire.job(LARGE, type="image")
    for again in (False, True, False):
        assert await enqueue(wire, job, again=again) == EnqueueStatus.ENQUEUED
    assert await wire.redis.call("XLEN", wire.keys.inbox(Lane.HEAVY), key="") == 1
    assert list((await parts(wire)).values()) == [-1] * 3
    assert await wire.inbox_bytes(Lane.HEAVY) == len(LARGE)


async def test_a_job_that_has_ended_is_brought_again_and_published_once(wire: Wire) -> None:
    id = new_id()
    job = wire.job(LARGE, type="image", id=id)
    worker, held = await hold(wire, job)
    await worker.committer.commit(held, Publish(b"{}"))
    # When its front has not heard of its end
    assert await enqueue(wire, job, again=True) == EnqueueStatus.ENQUEUED
    (held,) = await worker.inbox.read([CHANNEL], count=1)
    assert held.job.body == LARGE
    await worker.committer.commit(held, Publish(b"{}"))
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED, Outcome.DUPLICATE]


async def test_what_is_refused_leaves_nothing_behind(start: Start) -> None:
    # Given an inbox that is full
    wire = start(max_inbox_messages=1)
    assert await enqueue(wire, wire.job(LARGE, type="image")) == EnqueueStatus.ENQUEUED
    before = await parts(wire)
    # When another comes, and one that has to wait for what Redis has lost
    assert await enqueue(wire, wire.job(LARGE, type="image")) == EnqueueStatus.FULL
    assert await enqueue(wire, wire.job(LARGE, type="image"), heard=99) == EnqueueStatus.STATE_LOST
    # Then there are the parts of the first alone
    assert await parts(wire) == before


async def test_bodies_count_in_full_for_the_inbox(start: Start) -> None:
    wire = start(max_inbox_bytes=2 * len(LARGE))
    answers = [await enqueue(wire, wire.job(LARGE, type="image")) for _ in range(3)]
    assert answers == [EnqueueStatus.ENQUEUED, EnqueueStatus.ENQUEUED, EnqueueStatus.FULL]


async def test_parts_whose_job_is_not_taken_expire(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A front that dies in between takes nothing back."""

    async def never(*_: Any, **__: Any) -> int:
        raise Unavailable(TOO_BUSY)

    monkeypatch.setattr(wire.front.inbox, "_enqueue", never)
    with pytest.raises(Unavailable):
        await enqueue(wire, wire.job(LARGE, type="image"))
    assert [0 < seconds <= Timings().body_chunk for seconds in (await parts(wire)).values()] == [True] * 3


async def test_parts_that_expire_before_their_job_is_taken_are_brought_again(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis may be out of reach between the two for as long as that."""
    asked, ask = 0, wire.front.inbox._enqueue

    async def late(*arguments: Any, **named: Any) -> EnqueueResult:
        nonlocal asked
        asked += 1
        if asked == 1:
            await wire.redis.call("DEL", next(iter(await parts(wire))), key="")
        return await ask(*arguments, **named)

    monkeypatch.setattr(wire.front.inbox, "_enqueue", late)
    _, held = await hold(wire, wire.job(LARGE, type="image"))
    assert (asked, held.job.body) == (2, LARGE)


async def test_who_has_brought_a_body_in_vain_tells_those_who_waited(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would else wait for a Redis that is away, one after the other."""
    asked = 0

    async def away(*_: Any, **__: Any) -> int:
        nonlocal asked
        asked += 1
        raise Unavailable(TOO_BUSY)

    monkeypatch.setattr(wire.front.inbox, "_enqueue", away)
    jobs = [enqueue(wire, wire.job(LARGE, type="image")) for _ in range(10)]
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 10
    assert asked < 10


async def test_a_front_that_stops_gives_up_what_waits_and_not_what_may_have_got_through(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given four bodies in line, the first of which Redis has been asked to take
    asked, go_on, ask = asyncio.Event(), asyncio.Event(), wire.front.inbox._enqueue

    async def slowly(*arguments: Any, **named: Any) -> EnqueueResult:
        asked.set()
        await go_on.wait()
        return await ask(*arguments, **named)

    monkeypatch.setattr(wire.front.inbox, "_enqueue", slowly)
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    told: list[bool] = []  # whether it was given up
    jobs = [wire.front.inbox.enqueue(CHANNEL, Lane.HEAVY, wire.job(LARGE, type="image"), 0) for _ in range(4)]
    for job in jobs:
        job.add_done_callback(lambda job: told.append(job.cancelled()))
    await asked.wait()
    # When the front stops, those who wait are told by then; and the first is taken
    await wire.front.inbox.uploads.cancel_pending()
    assert told == [True] * 3
    go_on.set()
    assert (await jobs[0]).status is EnqueueStatus.ENQUEUED


# What should not happen


async def test_a_body_that_is_not_there_is_told_to_its_sender_who_may_send_it_again(wire: Wire) -> None:
    # Given a job that was taken, and a part that somebody has deleted
    id = new_id()
    job = wire.job(LARGE, type="image", id=id)
    assert await enqueue(wire, job) == EnqueueStatus.ENQUEUED
    await wire.redis.call("DEL", next(iter(await parts(wire))), key="")
    # When a worker comes to it
    worker = wire.new_worker("heavy-1", Lane.HEAVY)
    await worker.inbox.create_groups()
    (held,) = await worker.inbox.read([CHANNEL], count=1)
    assert not held.job.is_complete
    await worker.committer.commit(held, BodyMissing("Lost."))
    # Then its sender knows, nothing is left of it, and under its id something else may come
    (told,) = await wire.outbox()
    assert (told.source, told.outcome, told.type) == (job.source, Outcome.REFUSED, "uncompliant")
    assert told.body.split(b"reason")[1] == uncompliant("Lost.").split(b"reason")[1]
    assert (await parts(wire), await wire.inbox_bytes(Lane.HEAVY)) == ({}, 0)
    await wire.end(Publish(b"{}"), id=id)
    assert (await wire.outbox())[-1].outcome == Outcome.PUBLISHED


async def test_a_body_that_is_not_there_does_not_matter_when_the_message_was_published(wire: Wire) -> None:
    id = new_id()
    await wire.end(Publish(b"{}"), id=id)
    worker, held = await hold(wire, wire.job(LARGE, type="image", id=id))
    await worker.committer.commit(held, BodyMissing("Lost."))
    assert (await wire.outbox())[-1].outcome == Outcome.DUPLICATE
