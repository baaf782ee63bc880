"""The inbox: enqueuing by participants, and reading by workers."""

import pytest

from gischat.broker.entries import Job, Source
from gischat.broker.inbox import EnqueueStatus
from gischat.protocol.messages import Lane, new_id
from tests.gischat.broker.wire import (
    ALIVE,
    CHANNEL,
    Start,
    Wire,
)
from worker.effects import (
    Acknowledge,
    Publish,
)

pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.mark.parametrize(
    "fields", [{}, {b"source": b"nonsense"}, {b"source": b"a/1/1", b"type": b"text", b"id": b"\xff", b"body": b"{}"}]
)
def test_an_invalid_entry_becomes_a_job_of_no_type(fields: dict[bytes, bytes]) -> None:
    job = Job.parse([part for pair in fields.items() for part in pair])
    assert (job.source, job.type) == (Source("", 0, 0), "")


def test_an_entry_of_an_earlier_version_is_read() -> None:
    said = {
        b"source": b"a/1/2",
        b"type": b"image",
        b"id": b"x",
        b"body": b"",
        b"chunks": b"3",
        b"chunked_size": b"700000",
    }
    job = Job.parse([part for pair in said.items() for part in pair])
    assert (job.client, job.sender, job.chunks, job.size) == ("", "", 3, 700_000)


async def test_a_job_is_read_from_the_inbox_unchanged(wire: Wire) -> None:
    job = wire.job('{"text": "Été \\u0000 🗺"}'.encode(), type="text", id=new_id(), connection=7)
    held = await wire.hold(job)
    assert (held.job, held.channel, held.lane, held.deliveries) == (job, CHANNEL, Lane.LIGHT, 1)


async def test_each_lane_has_its_own_inbox(wire: Wire) -> None:
    heavy = wire.new_worker("heavy-1", Lane.HEAVY)
    for worker in (wire.worker, heavy):
        await worker.inbox.create_groups()
    quick, slow = wire.job(), wire.job(type="image")
    assert await wire.enqueue(quick, Lane.LIGHT)
    assert await wire.enqueue(slow, Lane.HEAVY)
    for worker, job in ((wire.worker, quick), (heavy, slow)):
        (held,) = await worker.inbox.read([CHANNEL], count=10)
        assert (held.job.source, held.job.body) == (job.source, job.body)
        assert await worker.committer.commit(held, Acknowledge())
    assert [await wire.inbox_bytes(lane) for lane in Lane] == [0, 0]


async def test_an_inbox_is_full_at_its_limit_of_jobs(start: Start) -> None:
    wire = start(max_inbox_messages=2)
    held = await wire.hold(wire.job())  # delivered, and still in the inbox
    assert await wire.enqueue(wire.job())
    assert not await wire.enqueue(wire.job())
    assert await wire.size("inbox:light") == 2
    # The other lane has room, and so has this one as soon as a job is completed
    assert await wire.enqueue(wire.job(), Lane.HEAVY)
    await wire.worker.committer.commit(held, Acknowledge())
    assert await wire.enqueue(wire.job())


async def test_an_inbox_is_full_at_its_limit_of_bytes(start: Start) -> None:
    wire = start(max_inbox_bytes=1000)
    held = await wire.hold(wire.job(b"x" * 600))
    assert await wire.enqueue(wire.job(b"x" * 400))
    assert not await wire.enqueue(wire.job(b"x"))
    assert await wire.inbox_bytes() == 1000
    await wire.worker.committer.commit(held, Acknowledge())
    assert await wire.enqueue(wire.job(b"x" * 600))


async def test_a_lost_count_of_bytes_is_not_negative_afterwards(wire: Wire) -> None:
    held = [await wire.hold(wire.job(b"x" * 600)) for _ in range(2)]
    await wire.redis.call("DEL", wire.key("inbox:light:bytes"), key=wire.key("inbox:light:bytes"))
    for delivery in held:
        await wire.worker.committer.commit(delivery, Acknowledge())
    assert await wire.inbox_bytes() == 0


async def test_an_empty_inbox_accepts_a_job_of_any_size(start: Start) -> None:
    wire = start(max_inbox_bytes=1000)
    assert await wire.enqueue(wire.job(b"x" * 5000))
    assert not await wire.enqueue(wire.job(b"x"))


async def test_a_job_of_a_front_that_redis_has_lost_is_refused_as_lost(wire: Wire) -> None:
    assert (await wire.front.inbox.enqueue(CHANNEL, Lane.LIGHT, wire.job(), 0)).status is EnqueueStatus.STATE_LOST
    assert await wire.size("inbox:light") == 0
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    assert (await wire.front.inbox.enqueue(CHANNEL, Lane.LIGHT, wire.job(), 0)).status is EnqueueStatus.ENQUEUED


async def test_a_job_of_a_front_ahead_of_redis_is_refused_as_lost(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.end(Publish(b"{}"))
    assert (await wire.front.inbox.enqueue(CHANNEL, Lane.LIGHT, wire.job(), 2)).status is EnqueueStatus.STATE_LOST
    assert await wire.size("inbox:light") == 0
    for heard in (1, 0):
        assert (await wire.front.inbox.enqueue(CHANNEL, Lane.LIGHT, wire.job(), heard)).status is EnqueueStatus.ENQUEUED


async def test_a_job_whose_preceding_message_redis_has_lost_is_refused_as_lost(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    said = (await wire.end(Publish(b"{}"), id=new_id())).id

    async def status(preceding: str) -> EnqueueStatus:
        return (await wire.front.inbox.enqueue(CHANNEL, Lane.LIGHT, wire.job(), 0, preceding)).status

    assert [await status(preceding) for preceding in (new_id(), said, "")] == [
        EnqueueStatus.STATE_LOST,
        EnqueueStatus.ENQUEUED,
        EnqueueStatus.ENQUEUED,
    ]
    # One of the two keys with that message is enough, because an operator may have removed the other
    for name, expected in (("ids", EnqueueStatus.ENQUEUED), ("senders", EnqueueStatus.STATE_LOST)):
        assert await wire.redis.call("DEL", wire.key(name), key=wire.key(name))
        assert await status(said) is expected
