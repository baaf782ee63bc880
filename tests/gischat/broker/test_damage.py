"""Damage to single keys: a key is removed, has a wrong type, or is restored from an old copy."""

from dataclasses import replace
from typing import Any

import pytest

from gischat.broker.damage import TURNS
from gischat.broker.entries import LEAVE, NICKNAMES, Job, Outcome
from gischat.broker.inbox import EnqueueResult, EnqueueStatus, JobState, JobStatus
from gischat.broker.scripts import CHUNK_BYTES
from gischat.protocol.messages import Lane, new_id
from tests.gischat.broker.wire import ALIVE, CHANNEL, DEAD, Start, Wire, assert_meters_are_right, encoded
from worker.commit import ID_USED
from worker.effects import Count, DeadLetter, Leave, Publish

pytestmark = pytest.mark.usefixtures("io_loop")

LARGE = b"x" * (CHUNK_BYTES + 1)


async def enqueue(wire: Wire, job: Job, lane: Lane = Lane.LIGHT, *, again: bool = False) -> EnqueueResult:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    return await wire.front.inbox.enqueue(CHANNEL, lane, job, 0, again=again)


async def inquire(
    wire: Wire, job: Job, place: bytes = b"", lane: Lane = Lane.LIGHT, *, cancels_to: int | None = None
) -> JobState:
    inquiry: JobStatus = await wire.front.inbox.job_status(CHANNEL, lane, job, place, 0, cancels_to)
    return inquiry.state


async def delete(wire: Wire, *keys: str) -> None:
    await wire.redis.call("DEL", *keys, key=keys[0])


async def break_key(wire: Wire, key: str) -> None:
    """Give a key a wrong type."""
    await delete(wire, key)
    wrong = ("SADD", key, "what is this?") if wire.keys.types[key] == "string" else ("SET", key, "what is this?")
    await wire.redis.call(*wrong, key=key)


def message(wire: Wire, text: str = "hello", **job: Any) -> Job:
    id = new_id()
    return wire.job(encoded("text", id=id, text=text), id=id, **job)


# The status of a job


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("is_place_known", [True, False])
async def test_a_pending_or_claimed_job_is_found_in_its_inbox(wire: Wire, lane: Lane, is_place_known: bool) -> None:
    worker = wire.new_worker("one", lane)
    await worker.inbox.create_groups()
    for _ in range(120):
        await enqueue(wire, message(wire))
    job = message(wire)
    place = (await enqueue(wire, job, lane)).entry_id
    place = place if is_place_known else b""
    assert await inquire(wire, job, place, lane) == JobState.PENDING
    held = (await worker.inbox.read([CHANNEL], count=200))[-1]
    assert await inquire(wire, job, place, lane) == JobState.PENDING
    # It is not cancelled, however late it is
    assert await inquire(wire, job, place, lane, cancels_to=99) == JobState.PENDING
    await worker.committer.commit(held, Publish(held.job.body))
    assert await inquire(wire, job, place, lane) == JobState.PUBLISHED
    assert await inquire(wire, job, place, lane, cancels_to=99) == JobState.PUBLISHED


@pytest.mark.parametrize(("lane", "body"), [(Lane.LIGHT, b"{}"), (Lane.HEAVY, b"{}"), (Lane.HEAVY, LARGE)])
async def test_a_job_of_a_lost_inbox_can_be_enqueued_again(wire: Wire, lane: Lane, body: bytes) -> None:
    job = wire.job(body, id=new_id(), type="text" if lane is Lane.LIGHT else "image")
    place = (await enqueue(wire, job, lane)).entry_id
    await delete(wire, wire.keys.inbox(lane))
    assert await inquire(wire, job, place, lane) == JobState.MISSING
    assert (await enqueue(wire, job, lane, again=True)).entry_id
    # It is complete, and counted once
    worker = wire.new_worker("one", lane)
    await worker.inbox.create_groups()
    (held,) = await worker.inbox.read([CHANNEL], count=10)
    assert held.job.body == body
    assert await wire.inbox_bytes(lane) == len(body)
    assert await worker.committer.commit(held, Publish(b"{}"))
    assert await wire.inbox_bytes(lane) == 0
    assert not any(field.startswith("heavy_bytes") for field in await wire.hash("counters"))


async def test_a_replayed_photo_whose_inbox_is_lost_is_enqueued_again(wire: Wire) -> None:
    """It was published before, which says nothing of its result: that is lost with its inbox."""
    job = wire.job(LARGE, id=new_id(), type="image")
    worker = wire.new_worker("one", Lane.HEAVY)
    await worker.inbox.create_groups()
    await enqueue(wire, job, Lane.HEAVY)
    (held,) = await worker.inbox.read([CHANNEL], count=10)
    await worker.committer.commit(held, Publish(b"{}"))
    # When it is enqueued again, and lost
    place = (await enqueue(wire, job, Lane.HEAVY, again=True)).entry_id
    await delete(wire, wire.keys.inbox(Lane.HEAVY))
    assert await inquire(wire, job, place, Lane.HEAVY) == JobState.PUBLISHED
    assert (await enqueue(wire, job, Lane.HEAVY, again=True)).entry_id
    # Then it is there once more, and its sender gets its result
    await worker.inbox.create_groups()
    (held,) = await worker.inbox.read([CHANNEL], count=10)
    assert held.job.body == LARGE
    assert await worker.committer.commit(held, Publish(b"{}"))
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED, Outcome.DUPLICATE]


async def test_a_cancelled_job_that_reappears_is_not_published(wire: Wire) -> None:
    # Given a job whose inbox is moved away, and that is cancelled twice, as after a lost answer
    job = message(wire)
    place = (await enqueue(wire, job)).entry_id
    await wire.worker.inbox.create_groups()
    inbox = wire.keys.inbox(Lane.LIGHT)
    await wire.redis.call("RENAME", inbox, inbox + ":away", key=inbox)
    published = await wire.meter("published")
    assert await inquire(wire, job, place, cancels_to=published) == JobState.CANCELLED
    assert await inquire(wire, job, place, cancels_to=published) == JobState.CANCELLED
    # When the inbox is restored
    await wire.redis.call("RENAME", inbox + ":away", inbox, key=inbox)
    (held,) = await wire.worker.inbox.read([CHANNEL], count=10)
    assert await wire.worker.committer.commit(held, Publish(job.body))
    # Then the job is not published
    (told,) = await wire.outbox()
    assert (told.outcome, told.body) == (Outcome.REFUSED, uncompliant_of(ID_USED, told.body))
    assert await wire.history() == []


def uncompliant_of(reason: str, body: bytes) -> bytes:
    """Check that the body contains the reason; returns it."""
    assert reason.encode() in body
    return body


async def test_nothing_is_cancelled_while_publications_are_unread(wire: Wire) -> None:
    await wire.end(Publish(b"{}"))
    job = message(wire)
    await enqueue(wire, job)
    await delete(wire, wire.keys.inbox(Lane.LIGHT))
    assert await inquire(wire, job, cancels_to=0) == JobState.MISSING
    assert await inquire(wire, job, cancels_to=1) == JobState.CANCELLED


async def test_a_redis_that_has_lost_the_front_reports_it(wire: Wire) -> None:
    job = message(wire)
    await enqueue(wire, job)
    await delete(wire, wire.keys.fronts)
    assert await inquire(wire, job) == JobState.STATE_LOST


# A key of a wrong type


async def test_every_key_has_its_type(wire: Wire) -> None:
    # Given a channel with all its keys
    await wire.register("jane")
    await wire.end(DeadLetter("It crashed."), type="image")
    assert await wire.front.inbox.find_damage([CHANNEL]) == {}
    found = {key: (await wire.redis.call("TYPE", key, key=key)).decode() for key in wire.keys.types}
    assert {key: type for key, type in found.items() if type not in ("none", wire.keys.types[key])} == {}


async def test_a_damaged_key_is_named_and_senders_are_refused(start: Start) -> None:
    for key in start().keys.types:
        wire = start()
        key = key.replace(start_of(key), start_of(wire.keys.outbox))
        await wire.register("jane", front="front-1")
        job = message(wire)
        place = (await enqueue(wire, job)).entry_id
        # When a key is damaged
        await break_key(wire, key)
        assert await wire.front.inbox.find_damage([CHANNEL]) == {CHANNEL: [key]}
        # Then no job is accepted
        if key != wire.key("counters"):  # without counters, every script fails
            assert (
                await wire.front.inbox.enqueue(CHANNEL, Lane.LIGHT, message(wire), 0)
            ).status is EnqueueStatus.DAMAGED, key
        # And jobs in flight are cancelled, because they cannot be completed
        assert await inquire(wire, job, place, cancels_to=99) == JobState.CANCELLED, key
        # When the key is removed, the channel works again
        await delete(wire, key)
        assert await wire.front.inbox.find_damage([CHANNEL]) == {}
        assert (await enqueue(wire, message(wire))).is_enqueued, key


def start_of(key: str) -> str:
    return key.partition("}")[0]


async def test_a_damaged_number_is_named_and_senders_are_refused(start: Start) -> None:
    fields = {
        "counters": ("published", "outbox_bytes", "lost_at"),
        "counts": ("front-9",),
        "inbox:heavy:bytes": ("it",),
    }
    for name, field in [(name, field) for name, some in fields.items() for field in some]:
        wire = start()
        await wire.register("jane")
        (key,) = (key for key in wire.keys.types if key.endswith("}:" + name))
        change = ("SET", key) if field == "it" else ("HSET", key, field)
        await wire.redis.call(*change, "1e3", key=key)
        assert await wire.front.inbox.find_damage([CHANNEL]) == {CHANNEL: [f"{key} ({field} is no number)"]}
        assert (await wire.front.inbox.enqueue(CHANNEL, Lane.LIGHT, message(wire), 0)).status is EnqueueStatus.DAMAGED
        await delete(wire, key)
        assert await wire.front.inbox.find_damage([CHANNEL]) == {}
    await wire.redis.call("HSET", wire.key("counts"), b"\xff", "x", key="")  # no text
    assert len((await wire.front.inbox.find_damage([CHANNEL]))[CHANNEL]) == 1


@pytest.mark.parametrize(("name", "field"), [("counters", "published"), ("counts", "")])
async def test_a_damaged_number_ends_no_renewal_of_other_channels(wire: Wire, name: str, field: str) -> None:
    # Given a number that is none, of the channel or of this front
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    key = wire.key(name)
    await wire.redis.call("HSET", key, field or wire.front.front, "what is this?", key=key)
    assert await wire.front.presence.renew_leases([CHANNEL], ALIVE) == {CHANNEL: None}
    await delete(wire, key)
    assert (await wire.front.presence.renew_lease(CHANNEL, ALIVE)).was_known


async def test_workers_skip_a_damaged_channel_until_it_is_repaired(wire: Wire) -> None:
    await break_key(wire, wire.keys.ids)
    await wire.worker.inbox.sweep(0)
    assert wire.worker.inbox.channels == []
    await delete(wire, wire.keys.ids)
    await wire.worker.inbox.sweep(0)
    assert wire.worker.inbox.channels == [CHANNEL]


async def test_who_finds_damage_tells_all(wire: Wire) -> None:
    # Given two workers that have just checked the channel
    one, other = wire.new_worker("one").inbox, wire.new_worker("other").inbox
    for _ in range(2):
        await other.sweep(0)
    await one.sweep(0)
    # When a key is damaged that no sweep reads, and it is one worker's turn to check it
    await break_key(wire, wire.keys.ids)
    for _ in range(TURNS):
        await one.sweep(0)
    assert one.channels == []
    # Then the other and the fronts suspect it at once
    assert (await wire.front.presence.renew_lease(CHANNEL, ALIVE)).is_broken
    await other.sweep(0)
    assert other.channels == []


# A lost key


async def heal(wire: Wire) -> bool:
    return await wire.worker.presence.repair_nicknames(CHANNEL, ALIVE, is_thorough=False)


@pytest.mark.parametrize("name", ["users", "nicknames"])
async def test_a_nickname_does_not_stay_taken_when_one_key_is_lost(wire: Wire, name: str) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("Jane", connection=1)
    await delete(wire, wire.key(name))
    # When the loss is detected, and fronts restore the lost data
    assert await heal(wire)
    assert (await wire.outbox())[-1].type == NICKNAMES
    await wire.register("Jane", connection=1)
    assert not await heal(wire)
    assert (await wire.nicknames(), list(await wire.hash("users"))) == (["Jane"], ["jane"])
    # Then the nickname is free when its connection leaves
    await wire.end(Leave(), type=LEAVE, connection=1)
    assert (await wire.hash("users"), await wire.hash("nicknames")) == ({}, {})


async def test_nicknames_of_an_unknown_front_are_swept(wire: Wire) -> None:
    # Given nicknames of a front without a lease, as restored from an old copy of a key
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("Jane")
    await delete(wire, wire.keys.fronts)
    await wire.worker.presence.repair_nicknames(CHANNEL, DEAD, is_thorough=True)
    # Then the front is swept like any dead one
    assert await wire.worker.presence.expired_fronts(CHANNEL) == ["front-1"]
    await wire.worker.presence.reap(CHANNEL, "front-1")
    assert await wire.nicknames() == []


async def test_a_nickname_with_two_holders_is_reduced_to_one(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("Jane", connection=1)
    await delete(wire, wire.key("users"))
    await wire.register("Jane", connection=2)
    assert len(await wire.hash("nicknames")) == 2
    assert await heal(wire)
    assert (await wire.hash("users"), await wire.hash("nicknames")) == (
        {"jane": "front-1/2"},
        {"front-1/2": "jane Jane"},
    )


async def test_a_dead_front_whose_nicknames_are_lost_keeps_none(wire: Wire) -> None:
    # Given a front that died, whose lease was ended for it
    for front in (wire.front, wire.new_front("dead")):
        await front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("Jane", front="dead")
    await wire.redis.call("ZADD", wire.keys.fronts, 0, "dead", key=wire.keys.fronts)
    await delete(wire, wire.key("nicknames"))
    # When somebody else asks for the nickname, it is free
    await wire.register("Jane", connection=2)
    assert await wire.hash("users") == {"jane": "front-1/2"}


async def test_the_end_of_a_connection_frees_no_nickname_that_another_has_since_users_are_lost(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("Jane", connection=1)
    await delete(wire, wire.key("users"))
    await wire.register("Jane", connection=2)
    await wire.news()
    await wire.end(Leave(), type=LEAVE, connection=1)
    assert [one.type for one in await wire.news()] == [LEAVE]
    assert (await wire.hash("users"), await wire.hash("nicknames")) == (
        {"jane": "front-1/2"},
        {"front-1/2": "jane Jane"},
    )


async def test_fronts_repeat_requests_for_nicknames_that_are_found_to_be_lost(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("Jane", connection=1)
    await wire.register("Jane", connection=2)
    await delete(wire, wire.keys.for_presence()[-2])
    await wire.end(Leave(), type=LEAVE, connection=1)
    assert (await wire.outbox())[-1].type == NICKNAMES


async def test_a_front_detects_that_its_count_is_lost(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(3), type="count", id=new_id())
    assert (await wire.front.presence.renew_lease(CHANNEL, ALIVE)).connections == 3
    await delete(wire, wire.key("counts"))
    assert (await wire.front.presence.renew_lease(CHANNEL, ALIVE)).connections == 0


@pytest.mark.parametrize("name", ["outbox", "outbox:sizes", "history", "counters", "ids", "senders"])
async def test_limits_hold_after_the_loss_of_a_key(start: Start, name: str) -> None:
    wire = start(max_outbox_messages=10, max_outbox_bytes=2000, max_stored_messages=10, max_stored_bytes=2000)
    body = b'"' + b"x" * 98 + b'"'
    for _ in range(10):
        await wire.end(Publish(body), body, id=new_id())
    await delete(wire, wire.key(name))
    for number in range(1, 31):
        await wire.end(Publish(body), body, id=new_id())
        # Neither too much nor too little is trimmed
        assert len(await wire.outbox()) >= min(number, 10)
        assert len(await wire.history()) >= min(number, 10)
    assert len(await wire.outbox()) == len(await wire.history()) == 10
    assert (await wire.meter("outbox_bytes"), await wire.meter("history_bytes")) == (1000, 1000)


async def test_sums_that_are_restored_from_an_old_copy_are_corrected(start: Start) -> None:
    wire = start(max_outbox_bytes=1000, max_stored_messages=100, max_stored_bytes=1000, max_inbox_bytes=1000)
    large, small = b'"' + b"x" * 98 + b'"', b"{}"

    async def end_ten(body: bytes) -> None:
        for _ in range(10):
            await wire.end(Publish(body), body, id=new_id())

    async def upload(*clients: str) -> list[EnqueueStatus]:
        jobs = [replace(wire.job(b"x" * 250, type="image"), client=client) for client in clients]
        return [(await enqueue(wire, job, Lane.HEAVY)).status for job in jobs]

    # Given a copy that was made when much was there, and is restored when little is
    await end_ten(large)
    assert await upload("jane", "jane") == [EnqueueStatus.ENQUEUED] * 2
    counters = wire.key("counters")
    copy = await wire.redis.call("DUMP", counters, key=counters)
    inbox = wire.keys.inbox(Lane.HEAVY)
    await delete(wire, wire.keys.outbox, wire.key("outbox:sizes"), wire.key("history"), inbox, f"{inbox}:bytes")
    await end_ten(small)
    await wire.redis.call("RESTORE", counters, 0, copy, "REPLACE", key=counters)
    # When as much comes as there is room for, all of it is kept
    await end_ten(large)
    assert (len(await wire.outbox()), len(await wire.history())) == (10, 10)
    await assert_meters_are_right(wire)
    assert await upload("john", "jane") == [EnqueueStatus.ENQUEUED] * 2


async def test_lost_publications_are_not_awaited(wire: Wire) -> None:
    # Given a published job, and an outbox that is lost before the job's front has read it
    job = await wire.end(Publish(b"{}"), type="text", id=new_id())
    assert (await wire.front.inbox.job_status(CHANNEL, Lane.LIGHT, job, b"", 0)).offset == 1
    await delete(wire, wire.keys.outbox)
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    # Then no publication needs to be read first
    assert await wire.front.inbox.job_status(CHANNEL, Lane.LIGHT, job, b"", 0) == JobStatus(JobState.PUBLISHED, 0)
