"""The inbox: enqueuing by participants, and reading by workers."""

from typing import Any

import pytest

from gischat.broker.entries import Job, Source
from gischat.broker.inbox import EnqueueStatus
from gischat.protocol.messages import Lane, new_id
from tests.gischat.broker.wire import CHANNEL, Start, Wire
from worker.effects import Acknowledge, Publish

pytestmark = pytest.mark.usefixtures("io_loop")

LOST, ENQUEUED = EnqueueStatus.STATE_LOST, EnqueueStatus.ENQUEUED


@pytest.mark.parametrize(
    "fields", ["", "source nonsense", "source a/1/1 type text id \xff body {}"], ids=["empty", "source", "id"]
)
def test_an_invalid_entry_becomes_a_job_of_no_type(fields: str) -> None:
    job = Job.parse(fields.encode("latin-1").split())
    assert (job.source, job.type) == (Source("", 0, 0), "")


def test_an_entry_of_an_earlier_version_is_read() -> None:
    job = Job.parse([*b"source a/1/2 type image id x chunks 3 chunked_size 700000 body".split(), b""])
    assert (job.client, job.sender, job.chunks, job.size) == ("", "", 3, 700_000)


async def test_a_job_is_read_unchanged_from_the_inbox_of_its_lane(wire: Wire) -> None:
    heavy = await wire.heavy()
    quick = wire.job('{"text": "Été \\u0000 🗺"}'.encode(), id=new_id(), connection=7)
    slow = wire.job(type="image")
    assert await wire.enqueue(slow, Lane.HEAVY)
    held = await wire.hold(quick)
    assert (held.job, held.channel, held.lane, held.deliveries) == (quick, CHANNEL, Lane.LIGHT, 1)
    (other,) = await heavy.inbox.read([CHANNEL], count=10)
    assert (other.job.source, other.job.body) == (slow.source, slow.body)
    for one in (held, other):
        assert await wire.worker.committer.commit(one, Acknowledge())
    assert [await wire.inbox_bytes(lane) for lane in Lane] == [0, 0]


@pytest.mark.parametrize("limits", [{"max_inbox_messages": 2}, {"max_inbox_bytes": 1000}], ids=str)
async def test_an_inbox_is_full_at_its_limit(start: Start, limits: dict[str, Any]) -> None:
    wire = start(**limits)
    held = await wire.hold(wire.job(b"x" * 600))  # delivered, and still in the inbox
    assert await wire.enqueue(wire.job(b"x" * 400))
    assert not await wire.enqueue(wire.job(b"x"))
    assert (await wire.size("inbox:light"), await wire.inbox_bytes()) == (2, 1000)
    # The other lane has room, and so has this one as soon as a job is completed
    assert await wire.enqueue(wire.job(), Lane.HEAVY)
    await wire.worker.committer.commit(held, Acknowledge())
    assert await wire.enqueue(wire.job(b"x" * 600))


async def test_an_empty_inbox_accepts_a_job_of_any_size(start: Start) -> None:
    wire = start(max_inbox_bytes=1000)
    assert [await wire.enqueue(wire.job(b"x" * size)) for size in (5000, 1)] == [True, False]


async def test_a_lost_count_of_bytes_is_not_negative_afterwards(wire: Wire) -> None:
    held = [await wire.hold(wire.job(b"x" * 600)) for _ in range(2)]
    await wire.delete(wire.key("inbox:light:bytes"))
    for delivery in held:
        await wire.worker.committer.commit(delivery, Acknowledge())
    assert await wire.inbox_bytes() == 0


async def test_a_job_of_a_front_that_is_ahead_of_redis_is_refused_as_lost(start: Start) -> None:
    wire = start()

    async def status(last_offset: int = 0, preceding: str = "") -> EnqueueStatus:
        return (await wire.offer(wire.job(), Lane.LIGHT, last_offset, preceding)).status

    # Given a front that Redis has lost, …
    assert await status() is LOST
    await wire.renew()
    assert await status() is ENQUEUED
    # … one that has received more than was published, …
    await wire.worker.inbox.create_groups()
    await wire.worker.inbox.read([CHANNEL], count=1)
    said = (await wire.end(Publish(b"{}"), id=new_id())).id
    assert [await status(last_offset) for last_offset in (2, 1, 0)] == [LOST, ENQUEUED, ENQUEUED]
    # … and one whose connection has published something that Redis does not know
    assert [await status(preceding=id) for id in (new_id(), said, "")] == [LOST, ENQUEUED, ENQUEUED]
    # One of the two keys with that message is enough, because an operator may have removed the other
    for name, expected in (("ids", ENQUEUED), ("senders", LOST)):
        await wire.delete(wire.key(name))
        assert await status(preceding=said) is expected
