"""Commits: a job is completed atomically, and once."""

import random
from collections.abc import Awaitable, Callable
from typing import get_args

import msgspec
import pytest

from gischat.broker import scripts
from gischat.broker.entries import Outcome, Publication
from gischat.broker.inbox_consumer import Delivery
from gischat.broker.keys import GROUP
from gischat.protocol.messages import Lane, new_id
from gischat.protocol.parsing import MessageParser
from tests.gischat.broker.wire import (
    ALIVE,
    CHANNEL,
    DEAD,
    FORGETFUL,
    Start,
    Wire,
    assert_meters_are_right,
    assert_presence_is_right,
    encoded,
    everything,
    shown,
)
from tests.support.contract import sample
from worker.commit import NOT_YOURS
from worker.effects import (
    Acknowledge,
    BodyMissing,
    Count,
    DeadLetter,
    Effect,
    Exit,
    Leave,
    Like,
    Publish,
    Refuse,
    Register,
    Restore,
)

pytestmark = pytest.mark.usefixtures("io_loop")

PUBLISHED, DUPLICATE, REFUSED = Outcome.PUBLISHED, Outcome.DUPLICATE, Outcome.REFUSED


# A job is completed once


async def test_a_completed_job_is_published_stored_and_removed_from_the_inbox(wire: Wire) -> None:
    id, body = new_id(), encoded("text")
    job = await wire.end(Publish(body), id=id)
    assert await wire.outbox() == [Publication(1, job.source, PUBLISHED, "", "text", id.encode(), body)]
    assert await wire.history() == [body]
    assert await wire.size("inbox:light") == await wire.inbox_bytes() == 0


EFFECTS: list[Effect] = [
    *(Publish(encoded("text")), Refuse("No."), Acknowledge(), Register("john"), Restore("john"), Exit("jane"), Leave()),
    *(Like("jane"), Count(5), BodyMissing("It is not there."), DeadLetter("It cannot be done.")),
]


def test_every_effect_is_tested() -> None:
    assert set(map(type, EFFECTS)) == set(get_args(Effect))


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: type(effect).__name__)
async def test_a_second_commit_of_a_job_changes_nothing(wire: Wire, effect: Effect) -> None:
    # Given a channel with a user, and a job of hers that a worker holds, and another has taken from it
    await wire.register("jane")
    held = await wire.hold(wire.job(encoded("exiter", exiter="jane")))
    other = wire.new_worker("worker-2")
    (taken_over,) = await other.inbox.claim_stale(CHANNEL, 0, 10)
    assert (taken_over.job, taken_over.deliveries) == (held.job, 2)
    # When both commit it, then the second commit changes nothing
    assert await other.committer.commit(taken_over, effect)
    before = await everything(wire)
    assert not await wire.worker.committer.commit(held, effect)
    assert await everything(wire) == before


async def test_a_restarted_worker_resumes_its_jobs_and_an_undelivered_one_cannot_be_committed(wire: Wire) -> None:
    held = await wire.hold(wire.job())
    successor = wire.new_worker("worker-1")
    (again,) = await successor.inbox.claim_own(CHANNEL, 10)
    assert (again.job, again.deliveries) == (held.job, 2)
    assert await successor.committer.commit(again, Acknowledge())
    assert await successor.inbox.claim_own(CHANNEL, 10) == []
    undelivered = (await wire.offer(wire.job())).entry_id
    assert not await wire.worker.committer.commit(held._replace(entry=undelivered), Publish(b"{}"))
    assert await wire.size("inbox:light") == 1


async def test_names_of_idle_dead_workers_are_deleted_unless_they_hold_jobs(wire: Wire) -> None:
    # Given a worker that holds a job, one without jobs, and one that cleans up
    gone, looks = wire.new_worker("gone"), wire.new_worker("looks")
    held = await wire.hold(wire.job())
    await gone.inbox.read([CHANNEL], count=1)
    # When they have not been idle for long, or in the other lane, nothing is deleted
    assert await looks.inbox.delete_idle_consumers(CHANNEL, 3600) == 0
    assert await wire.new_worker("heavy", Lane.HEAVY).inbox.delete_idle_consumers(CHANNEL, 0) == 0
    # When they have been idle for long, only the one without jobs is deleted
    assert await looks.inbox.delete_idle_consumers(CHANNEL, 0) == 1
    about = await wire.redis.call("XINFO", "CONSUMERS", wire.keys.inbox(Lane.LIGHT), GROUP, key=wire.keys.outbox)
    assert [consumer[1] for consumer in about] == [b"worker-1"]
    assert await wire.worker.committer.commit(held, Publish(b'"hello"'))


# A message is published once: see test_ids.py


async def test_a_message_that_was_not_published_or_has_no_id_may_be_sent_again(wire: Wire) -> None:
    id = new_id()
    for effect in (Refuse("No."), DeadLetter("It crashed."), Publish(b"{}")):
        await wire.end(effect, id=id)
    assert await wire.outcomes() == [REFUSED, Outcome.DEAD_LETTERED, PUBLISHED]
    for _ in range(2):
        await wire.end(Publish(b"{}"))
    assert await wire.outcomes() == [PUBLISHED] * 2


async def test_only_the_last_ids_are_remembered_with_their_senders(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "IDS_NUMBER", 2)
    monkeypatch.setattr(scripts, "IDS_STEP", 1)
    wire = start()
    ids = [new_id() for _ in range(3)]
    for id in ids:
        await wire.end(Publish(b"{}"), id=id)
        await wire.let_a_moment_pass()  # because ids of the same millisecond have no order
    assert set(await wire.hash("senders")) == set(ids[1:])
    for id in (ids[2], ids[1], ids[0]):
        await wire.end(Publish(b"{}"), id=id)
    assert (await wire.outcomes())[3:] == [DUPLICATE, DUPLICATE, PUBLISHED]


async def test_ids_are_remembered_for_a_time_and_old_ones_removed_gradually(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "IDS_STEP", 5)
    wire = start(timings=FORGETFUL)
    kept = []
    ids = [new_id() for _ in range(10)]
    for id in ids:
        await wire.end(Publish(b"{}"), id=id)
        await wire.let_a_moment_pass()  # until it is old
        kept.append(int(await wire.redis.call("ZCARD", wire.keys.ids, key=wire.keys.ids)))
    # An id that has just been published is not older than zero seconds
    assert kept == [1, 2, 3, 4, 1, 2, 3, 4, 5, 1]
    await wire.end(Publish(b"{}"), id=ids[-1])  # it is still there, but too old
    assert await wire.outcomes() == [PUBLISHED] * 11


# Authors


@pytest.mark.parametrize("type_", ["text", "geojson", "like"])
async def test_nothing_is_published_with_another_connections_nickname_where_that_is_required(
    start: Start, type_: str
) -> None:
    # Given two connections, one of them registered, and a message as a front encodes it
    wire = start(require_registration=True)
    await wire.renew()
    await wire.register("jane", connection=1)
    await wire.news()
    signed = {"liker_author" if type_ == "like" else "author": "jane"}

    async def say(connection: int) -> Publication:
        message = MessageParser(wire.settings).parse(msgspec.json.encode(sample(type_, **signed)))
        effect = Like("jane") if type_ == "like" else Publish(message.body)
        await wire.end(effect, message.body, type=type_, id=message.id, connection=connection)
        (published,) = await wire.news()
        return published

    # When the unregistered one sends it, then only its sender gets the reason, and nothing is stored
    refused = await say(2)
    assert (refused.outcome, refused.is_broadcast) == (REFUSED, False)
    assert shown(refused) == ("uncompliant", NOT_YOURS)
    assert await wire.history() == []
    # The registered one may send it; so may any connection if nobody holds the nickname, which Redis may have lost
    assert (await say(1)).outcome is not REFUSED
    await wire.leave()
    await wire.news()
    assert (await say(2)).outcome is not REFUSED


async def test_without_required_registration_any_author_is_accepted(wire: Wire) -> None:
    await wire.register("jane")
    body = encoded("text", author="jane")
    await wire.end(Publish(body), body, id=new_id(), connection=2)
    assert await wire.outcomes() == [PUBLISHED] * 2


# All of it together


@pytest.mark.parametrize("seed", range(3))
async def test_counters_are_correct_after_any_sequence_of_events(
    start: Start, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # Given a channel with narrow limits, late workers and dying fronts
    monkeypatch.setattr(scripts, "DEAD_LETTERS", 3)
    wire = start(max_outbox_messages=20, max_outbox_bytes=5000, max_inbox_bytes=5000, max_stored_messages=3)
    await wire.worker.inbox.create_groups()
    chance = random.Random(seed)
    ids = [new_id() for _ in range(5)]
    fronts = ["front-1", "front-2"]
    held: list[Delivery] = []

    def effect() -> Effect:
        nickname = chance.choice(["jane", "joan", "john"])
        body = b"x" * chance.choice([0, 10, 1000, 6000])
        effects: list[Effect] = [Publish(body), Refuse("No."), Acknowledge(), DeadLetter("It crashed.")]
        effects += [Count(chance.randrange(4)), Register(nickname), Exit(nickname), Leave(), Like(nickname)]
        return chance.choice(effects)

    async def enqueue() -> None:
        front, body = chance.choice(fronts), b"y" * chance.choice([0, 2, 900])
        await wire.enqueue(wire.job(body, id=chance.choice(["", *ids]), front=front, connection=chance.randrange(3)))
        held.extend(await wire.worker.inbox.read([CHANNEL], count=5))

    async def end() -> None:
        if held:
            await wire.worker.committer.commit(chance.choice(held), effect())  # possibly a second time

    async def live_or_die() -> None:
        await wire.renew(chance.choice(fronts), chance.choice([ALIVE, ALIVE, DEAD]))
        for dead in await wire.worker.presence.expired_fronts(CHANNEL):
            await wire.worker.presence.reap(CHANNEL, dead)

    acts: list[Callable[[], Awaitable[None]]] = [enqueue, enqueue, end, end, end, live_or_die]
    # When random events happen
    for step in range(200):
        await chance.choice(acts)()
        if step % 20 == 0:
            await assert_meters_are_right(wire)
            await assert_presence_is_right(wire)
    # And all jobs are completed
    for one in held:
        await wire.worker.committer.commit(one, Acknowledge())
    # Then nothing remains
    assert await wire.inbox_bytes() == await wire.size("inbox:light") == 0
    await assert_meters_are_right(wire)
    await assert_presence_is_right(wire)
