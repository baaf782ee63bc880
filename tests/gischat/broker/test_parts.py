"""Large bodies lie beside their jobs, in parts: they come and go with them, whatever happens in between."""

import asyncio
from typing import Any

import pytest

from gischat.broker.client import TOO_BUSY
from gischat.broker.entries import Job, Outcome
from gischat.broker.inbox import EnqueueResult, EnqueueStatus
from gischat.broker.scripts import CHUNK_BYTES
from gischat.errors import Unavailable
from gischat.protocol.messages import Lane, new_id
from gischat.timings import Timings
from tests.gischat.broker.wire import CHANNEL, Start, Wire, letters, shown
from worker.effects import Acknowledge, BodyMissing, DeadLetter, Effect, Publish, Refuse

pytestmark = pytest.mark.usefixtures("io_loop")

EXACT = bytes(range(256)) * (CHUNK_BYTES // 256) * 2  # fills its parts
LARGE = EXACT + b"and a bit"


async def parts(wire: Wire) -> list[int]:
    """The milliseconds until the parts that Redis holds expire; -1: never."""
    return [*(await wire.keys_with(":part:")).values()]


async def delete_a_part(wire: Wire) -> None:
    await wire.delete(next(iter(await wire.keys_with(":part:"))).decode())


def photo(wire: Wire, body: bytes = LARGE, id: str = "") -> Job:
    return wire.job(body, type="image", id=id)


async def send(wire: Wire, job: Job, **how: Any) -> EnqueueStatus:
    return (await wire.offer(job, Lane.HEAVY, **how)).status


@pytest.mark.parametrize(
    ("body", "number"), [(b"{}", 1), (EXACT[:CHUNK_BYTES], 1), (EXACT[: CHUNK_BYTES + 1], 2), (LARGE, 3)]
)
async def test_a_body_comes_out_as_it_went_in_and_is_gone_when_its_job_has_ended(
    wire: Wire, body: bytes, number: int
) -> None:
    # When a job is taken, or taken over, its parts stay
    held = await wire.hold(photo(wire, body), Lane.HEAVY)
    assert await parts(wire) == [-1] * number
    assert (held.job.body, held.job.size, held.job.is_complete) == (body, len(body), True)
    (taken_over,) = await wire.new_worker("heavy-2", Lane.HEAVY).inbox.claim_stale(CHANNEL, 0, 1)
    assert taken_over.job == held.job
    assert await wire.inbox_bytes(Lane.HEAVY) == len(body)
    # When it ends, nothing does
    assert await wire.worker.committer.commit(held, Publish(b'"small"'))
    assert (await parts(wire), await wire.inbox_bytes(Lane.HEAVY)) == ([], 0)
    assert [one.body for one in await wire.outbox()] == [b'"small"']


@pytest.mark.parametrize("effect", [Refuse("No."), Acknowledge(), DeadLetter("It crashed.")], ids=repr)
async def test_however_a_job_ends_its_parts_go_with_it(wire: Wire, effect: Effect) -> None:
    held = await wire.hold(photo(wire), Lane.HEAVY)
    assert await wire.worker.committer.commit(held, effect)
    assert await parts(wire) == []
    # A dead letter holds the whole body
    assert [letter[b"body"] for letter in await letters(wire)] == [LARGE] * isinstance(effect, DeadLetter)


async def test_a_job_that_is_brought_again_is_taken_once_until_it_ends_and_published_once(wire: Wire) -> None:
    """The answer may have been lost, or its end."""
    job = photo(wire, id=new_id())
    for again in (False, True, False):
        assert await send(wire, job, again=again) == EnqueueStatus.ENQUEUED
    assert (await wire.size("inbox:heavy"), await parts(wire)) == (1, [-1] * 3)
    assert await wire.inbox_bytes(Lane.HEAVY) == len(LARGE)
    worker = await wire.heavy()
    for outcome in (Outcome.PUBLISHED, Outcome.DUPLICATE):
        (held,) = await worker.inbox.read([CHANNEL], count=1)
        assert held.job.body == LARGE
        await worker.committer.commit(held, Publish(b"{}"))
        assert await wire.outcomes() == [outcome]
        assert await send(wire, job, again=True) == EnqueueStatus.ENQUEUED


async def test_bodies_count_in_full_and_what_is_refused_leaves_nothing_behind(start: Start) -> None:
    wire = start(max_inbox_bytes=len(LARGE) + 10)
    await wire.renew()
    assert await send(wire, photo(wire)) == EnqueueStatus.ENQUEUED
    assert await send(wire, photo(wire, EXACT)) == EnqueueStatus.FULL
    assert await send(wire, photo(wire), last_offset=99) == EnqueueStatus.STATE_LOST
    assert await parts(wire) == [-1] * 3


# A Redis that is out of reach in between


async def test_parts_whose_job_is_not_taken_expire_and_others_are_not_sent(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A front that dies in between takes nothing back. Who waits would else wait for Redis one after the other."""
    asked = 0

    async def away(*_: Any, **__: Any) -> int:
        nonlocal asked
        asked += 1
        raise Unavailable(TOO_BUSY)

    monkeypatch.setattr(wire.front.inbox, "_enqueue", away)
    answers = await asyncio.gather(*(send(wire, photo(wire)) for _ in range(10)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 10
    assert asked < 10
    assert {0 < expires <= Timings().body_chunk * 1000 for expires in await parts(wire)} == {True}


async def test_parts_that_expire_before_their_job_is_taken_are_brought_again(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis may be out of reach between the two for as long as that."""
    asked, ask = 0, wire.front.inbox._enqueue

    async def late(*arguments: Any, **named: Any) -> EnqueueResult:
        nonlocal asked
        asked += 1
        if asked == 1:
            await delete_a_part(wire)
        return await ask(*arguments, **named)

    monkeypatch.setattr(wire.front.inbox, "_enqueue", late)
    assert await send(wire, photo(wire)) == EnqueueStatus.ENQUEUED
    (held,) = await (await wire.heavy()).inbox.read([CHANNEL], count=1)
    assert (asked, held.job.body) == (2, LARGE)


# What should not happen


async def test_a_body_that_is_not_there_is_told_to_its_sender_who_may_send_it_again(wire: Wire) -> None:
    # Given a job that was taken, and a part that somebody has deleted
    job = photo(wire, id=(id := new_id()))
    assert await send(wire, job) == EnqueueStatus.ENQUEUED
    await delete_a_part(wire)
    # When a worker comes to it
    worker = await wire.heavy()
    (held,) = await worker.inbox.read([CHANNEL], count=1)
    assert not held.job.is_complete
    await worker.committer.commit(held, BodyMissing("Lost."))
    # Then its sender knows, nothing is left of it, and under its id something else may come
    (told,) = await wire.outbox()
    assert (told.source, told.outcome, shown(told)) == (job.source, Outcome.REFUSED, ("uncompliant", "Lost."))
    assert (await parts(wire), await wire.inbox_bytes(Lane.HEAVY)) == ([], 0)
    await wire.end(Publish(b"{}"), id=id)
    assert (await wire.last()).outcome == Outcome.PUBLISHED
