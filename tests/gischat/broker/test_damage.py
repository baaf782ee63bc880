"""Damage to single keys: a key is removed, has a wrong type, or is restored from an old copy."""

from dataclasses import replace

import pytest

from gischat.broker.damage import TURNS
from gischat.broker.entries import Job, Outcome
from gischat.broker.inbox import EnqueueStatus, JobState, JobStatus
from gischat.broker.scripts import CHUNK_BYTES
from gischat.protocol.messages import Lane, new_id
from tests.gischat.broker.wire import CHANNEL, Start, Wire, assert_meters_are_right, encoded, shown
from worker.commit import ID_USED
from worker.effects import DeadLetter, Publish

pytestmark = pytest.mark.usefixtures("io_loop")

LARGE = b"x" * (CHUNK_BYTES + 1)
TEXT = b'"' + b"x" * 98 + b'"'  # of 100 bytes


async def inquire(
    wire: Wire, job: Job, place: bytes = b"", lane: Lane = Lane.LIGHT, *, cancels_to: int | None = None
) -> JobState:
    status: JobStatus = await wire.front.inbox.job_status(CHANNEL, lane, job, place, 0, cancels_to)
    return status.state


async def break_key(wire: Wire, key: str) -> None:
    """Give a key a wrong type."""
    await wire.delete(key)
    wrong = ("SADD", key, "what is this?") if wire.keys.types[key] == "string" else ("SET", key, "what is this?")
    await wire.redis.call(*wrong, key=key)


async def damage(wire: Wire) -> list[str]:
    return (await wire.front.inbox.find_damage([CHANNEL])).get(CHANNEL, [])


def message(wire: Wire) -> Job:
    return wire.job(encoded("text", id=(id := new_id())), id=id)


# The status of a job


@pytest.mark.parametrize(("lane", "is_place_known"), [(Lane.LIGHT, True), (Lane.LIGHT, False), (Lane.HEAVY, True)])
async def test_a_pending_or_claimed_job_is_found_in_its_inbox(wire: Wire, lane: Lane, is_place_known: bool) -> None:
    worker = wire.new_worker("one", lane)
    await worker.inbox.create_groups()
    for _ in range(0 if is_place_known else 120):
        await wire.offer(message(wire))
    entry = (await wire.offer(job := message(wire), lane)).entry_id
    place = entry if is_place_known else b""
    assert await inquire(wire, job, place, lane) == JobState.PENDING
    held = (await worker.inbox.read([CHANNEL], count=200))[-1]
    # It is not cancelled, however late it is
    assert await inquire(wire, job, place, lane, cancels_to=99) == JobState.PENDING
    await worker.committer.commit(held, Publish(held.job.body))
    assert await inquire(wire, job, place, lane, cancels_to=99) == JobState.PUBLISHED


@pytest.mark.parametrize(("lane", "body"), [(Lane.LIGHT, b"{}"), (Lane.HEAVY, b"{}"), (Lane.HEAVY, LARGE)])
async def test_a_job_of_a_lost_inbox_can_be_enqueued_again(wire: Wire, lane: Lane, body: bytes) -> None:
    """Also one that was published before, which says nothing of its result: that is lost with its inbox."""
    job = wire.job(body, id=new_id(), type="text" if lane is Lane.LIGHT else "image")
    worker = wire.new_worker("one", lane)
    for before, outcome in ((JobState.MISSING, Outcome.PUBLISHED), (JobState.PUBLISHED, Outcome.DUPLICATE)):
        place = (await wire.offer(job, lane, again=before is JobState.PUBLISHED)).entry_id
        await wire.delete(wire.keys.inbox(lane))
        assert await inquire(wire, job, place, lane) == before
        assert (await wire.offer(job, lane, again=True)).entry_id
        # It is complete, and counted once
        await worker.inbox.create_groups()
        (held,) = await worker.inbox.read([CHANNEL], count=10)
        assert held.job.body == body
        assert await wire.inbox_bytes(lane) == len(body)
        assert await worker.committer.commit(held, Publish(b"{}"))
        assert await wire.outcomes() == [outcome]
        assert await wire.inbox_bytes(lane) == 0
        assert not any(field.startswith("heavy_bytes") for field in await wire.hash("counters"))


async def test_a_cancelled_job_that_reappears_is_not_published(wire: Wire) -> None:
    # Given a job whose inbox is moved away, and that is cancelled twice, as after a lost answer
    job = message(wire)
    place = (await wire.offer(job)).entry_id
    await wire.worker.inbox.create_groups()
    inbox = wire.keys.inbox(Lane.LIGHT)
    await wire.redis.call("RENAME", inbox, inbox + ":away", key=inbox)
    for _ in range(2):
        assert await inquire(wire, job, place, cancels_to=0) == JobState.CANCELLED
    # When the inbox is restored
    await wire.redis.call("RENAME", inbox + ":away", inbox, key=inbox)
    (held,) = await wire.worker.inbox.read([CHANNEL], count=10)
    assert await wire.worker.committer.commit(held, Publish(job.body))
    # Then the job is not published
    (told,) = await wire.outbox()
    assert (told.outcome, shown(told)) == (Outcome.REFUSED, ("uncompliant", ID_USED))
    assert await wire.history() == []


async def test_nothing_is_cancelled_while_publications_are_unread(wire: Wire) -> None:
    await wire.end(Publish(b"{}"))
    await wire.offer(job := message(wire))
    await wire.delete(wire.keys.inbox(Lane.LIGHT))
    assert await inquire(wire, job, cancels_to=0) == JobState.MISSING
    assert await inquire(wire, job, cancels_to=1) == JobState.CANCELLED


async def test_a_redis_that_has_lost_the_front_reports_it(wire: Wire) -> None:
    await wire.offer(job := message(wire))
    await wire.delete(wire.keys.fronts)
    assert await inquire(wire, job) == JobState.STATE_LOST


async def test_lost_publications_are_not_awaited(wire: Wire) -> None:
    # Given a published job, and an outbox that is lost before the job's front has read it
    job = await wire.end(Publish(b"{}"), id=new_id())
    assert (await wire.front.inbox.job_status(CHANNEL, Lane.LIGHT, job, b"", 0)).offset == 1
    await wire.delete(wire.keys.outbox)
    # Then no publication needs to be read first
    assert await wire.front.inbox.job_status(CHANNEL, Lane.LIGHT, job, b"", 0) == JobStatus(JobState.PUBLISHED, 0)


# A key of a wrong type


async def test_every_key_has_its_type(wire: Wire) -> None:
    # Given a channel with all its keys
    await wire.register("jane")
    await wire.end(DeadLetter("It crashed."), type="image")
    assert await damage(wire) == []
    found = {key: (await wire.redis.call("TYPE", key, key=key)).decode() for key in wire.keys.types}
    assert {key: type for key, type in found.items() if type not in ("none", wire.keys.types[key])} == {}


async def test_a_damaged_key_is_named_and_senders_are_refused(start: Start) -> None:
    for name in [key.partition("}:")[2] for key in start().keys.types]:
        wire = start()
        key = wire.key(name)
        await wire.renew()
        await wire.register("jane")
        place = (await wire.offer(job := message(wire))).entry_id
        # When a key is damaged
        await break_key(wire, key)
        assert await damage(wire) == [key]
        # Then no job is accepted
        if name != "counters":  # without counters, every script fails
            assert (await wire.offer(message(wire))).status is EnqueueStatus.DAMAGED, name
        # And jobs in flight are cancelled, because they cannot be completed
        assert await inquire(wire, job, place, cancels_to=99) == JobState.CANCELLED, name
        # When the key is removed, the channel works again
        await wire.delete(key)
        assert await damage(wire) == []
        await wire.renew()
        assert (await wire.offer(message(wire))).is_enqueued, name


async def test_a_damaged_number_is_named_and_senders_are_refused(wire: Wire) -> None:
    for name, field in (("counters", "lost_at"), ("counts", "front-9"), ("inbox:heavy:bytes", "it")):
        await wire.register("jane")
        key = wire.key(name)
        change = ("SET", key) if field == "it" else ("HSET", key, field)
        await wire.redis.call(*change, "1e3", key=key)
        assert await damage(wire) == [f"{key} ({field} is no number)"]
        assert (await wire.offer(message(wire))).status is EnqueueStatus.DAMAGED
        await wire.delete(key)
        assert await damage(wire) == []
    await wire.redis.call("HSET", wire.key("counts"), b"\xff", "x", key="")  # no text
    assert len(await damage(wire)) == 1


@pytest.mark.parametrize(("name", "field"), [("counters", "published"), ("counts", "front-1")])
async def test_a_damaged_number_ends_no_renewal_of_other_channels(wire: Wire, name: str, field: str) -> None:
    # Given a number that is none, of the channel or of this front
    key = wire.key(name)
    await wire.redis.call("HSET", key, field, "what is this?", key=key)
    assert await wire.front.presence.renew_leases([CHANNEL], 60) == {CHANNEL: None}
    await wire.delete(key)
    assert (await wire.renew()).was_known


async def test_who_finds_damage_tells_all_and_it_is_left_alone_until_it_is_repaired(wire: Wire) -> None:
    # Given two workers that have just checked the channel
    one, other = wire.new_worker("one").inbox, wire.new_worker("other").inbox
    for inbox in (other, other, one):
        await inbox.sweep(0)
    # When a key is damaged that no sweep reads, and it is one worker's turn to check it
    await break_key(wire, wire.keys.ids)
    for _ in range(TURNS):
        await one.sweep(0)
    assert one.channels == []
    # Then the other and the fronts suspect it at once
    assert (await wire.renew()).is_broken
    await other.sweep(0)
    assert other.channels == []
    # When it is repaired, they work again
    await wire.delete(wire.keys.ids)
    await one.sweep(0)
    assert one.channels == [CHANNEL]


# A lost key


@pytest.mark.parametrize("name", ["outbox", "outbox:sizes", "history", "counters", "ids", "senders"])
async def test_limits_hold_after_the_loss_of_a_key(start: Start, name: str) -> None:
    wire = start(max_outbox_messages=10, max_outbox_bytes=2000, max_stored_messages=10, max_stored_bytes=2000)

    async def end(number: int) -> None:
        for _ in range(number):
            await wire.end(Publish(TEXT), TEXT, id=new_id())

    await end(10)
    await wire.delete(wire.key(name))
    for number in range(1, 21):
        await end(1)
        # Neither too much nor too little is trimmed
        assert min(len(await wire.outbox()), len(await wire.history())) >= min(number, 10)
    assert len(await wire.outbox()) == len(await wire.history()) == 10
    assert (await wire.meter("outbox_bytes"), await wire.meter("history_bytes")) == (1000, 1000)


async def test_sums_that_are_restored_from_an_old_copy_are_corrected(start: Start) -> None:
    wire = start(max_outbox_bytes=1000, max_stored_messages=100, max_stored_bytes=1000, max_inbox_bytes=1000)
    await wire.renew()

    async def end_ten(body: bytes) -> None:
        for _ in range(10):
            await wire.end(Publish(body), body, id=new_id())

    async def upload(*clients: str) -> list[bool]:
        jobs = [replace(wire.job(b"x" * 250, type="image"), client=client) for client in clients]
        return [(await wire.offer(job, Lane.HEAVY)).is_enqueued for job in jobs]

    # Given a copy that was made when much was there, and is restored when little is
    await end_ten(TEXT)
    assert await upload("jane", "jane") == [True, True]
    counters, inbox = wire.key("counters"), wire.keys.inbox(Lane.HEAVY)
    copy = await wire.redis.call("DUMP", counters, key=counters)
    await wire.delete(wire.keys.outbox, wire.key("outbox:sizes"), wire.key("history"), inbox, f"{inbox}:bytes")
    await end_ten(b"{}")
    await wire.redis.call("RESTORE", counters, 0, copy, "REPLACE", key=counters)
    # When as much comes as there is room for, all of it is kept
    await end_ten(TEXT)
    assert (len(await wire.outbox()), len(await wire.history())) == (10, 10)
    await assert_meters_are_right(wire)
    assert await upload("john", "jane") == [True, True]
