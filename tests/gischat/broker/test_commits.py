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
from tests.support.contract import BROADCAST, sample
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


# A job is completed once


async def test_a_completed_job_is_published_stored_and_removed_from_the_inbox(wire: Wire) -> None:
    id, body = new_id(), encoded("text")
    job = await wire.end(Publish(body), id=id)
    assert await wire.outbox() == [Publication(1, job.source, Outcome.PUBLISHED, "", "text", id.encode(), body)]
    assert await wire.history() == [body]
    assert await wire.size("inbox:light") == await wire.inbox_bytes() == 0


EFFECTS: dict[str, Effect] = {
    "publish": Publish(encoded("text")),
    "refuse": Refuse("No."),
    "acknowledge": Acknowledge(),
    "register": Register("john"),
    "restore": Restore("john"),
    "exit": Exit("jane"),
    "leave": Leave(),
    "like": Like("jane"),
    "count": Count(5),
    "missing": BodyMissing("It is not there."),
    "bury": DeadLetter("It cannot be done."),
}


def test_every_effect_is_tested() -> None:
    assert {type(effect) for effect in EFFECTS.values()} == set(get_args(Effect))


@pytest.mark.parametrize("name", EFFECTS)
async def test_a_second_commit_of_a_job_changes_nothing(wire: Wire, name: str) -> None:
    # Given a channel with a user, and a job of hers that two workers hold
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    held = await wire.hold(wire.job(encoded("exiter", exiter="jane")))
    # When both commit it
    assert await wire.worker.committer.commit(held, EFFECTS[name])
    before = await everything(wire)
    assert not await wire.worker.committer.commit(held, EFFECTS[name])
    # Then the second commit changes nothing
    assert await everything(wire) == before


async def test_a_hung_worker_publishes_nothing_when_it_returns(wire: Wire) -> None:
    # Given a job of a hung worker, reclaimed by another
    held = await wire.hold(wire.job())
    other = wire.new_worker("worker-2")
    (taken_over,) = await other.inbox.claim_stale(CHANNEL, 0, 10)
    assert (taken_over.job, taken_over.deliveries) == (held.job, 2)
    # When both commit it
    assert await other.committer.commit(taken_over, Publish(b'"by the second"'))
    assert not await wire.worker.committer.commit(held, Publish(b'"by the first"'))
    # Then it was published once
    assert [one.body for one in await wire.outbox()] == [b'"by the second"']


async def test_names_of_idle_dead_workers_are_deleted_unless_they_hold_jobs(wire: Wire) -> None:
    # Given a worker that holds a job, one without jobs, and one that cleans up
    gone, looks = wire.new_worker("gone"), wire.new_worker("looks")
    held = await wire.hold(wire.job())
    await gone.inbox.read([CHANNEL], count=1)
    # When they have not been idle for long, or in the other lane, nothing is deleted
    assert await looks.inbox.delete_idle_consumers(CHANNEL, 3600) == 0
    assert await wire.new_worker("heavy", Lane.HEAVY).inbox.delete_idle_consumers(CHANNEL, 0) == 0
    # When they have been idle for long
    assert await looks.inbox.delete_idle_consumers(CHANNEL, 0) == 1
    # Then only the one without jobs is deleted
    about = await wire.redis.call("XINFO", "CONSUMERS", wire.keys.inbox(Lane.LIGHT), GROUP, key=wire.keys.outbox)
    assert [consumer[1] for consumer in about] == [b"worker-1"]
    assert await wire.worker.committer.commit(held, Publish(b'"hello"'))


async def test_an_undelivered_job_cannot_be_committed(wire: Wire) -> None:
    held = await wire.hold(wire.job())
    await wire.worker.committer.commit(held, Acknowledge())
    await wire.enqueue(wire.job())
    (entry,) = await wire.redis.call("XRANGE", wire.key("inbox:light"), "-", "+", key=wire.key("inbox:light"))
    assert not await wire.worker.committer.commit(held._replace(entry=entry[0]), Publish(b"{}"))
    assert await wire.size("inbox:light") == 1


async def test_a_restarted_worker_resumes_its_jobs(wire: Wire) -> None:
    held = await wire.hold(wire.job())
    successor = wire.new_worker("worker-1")
    (again,) = await successor.inbox.claim_own(CHANNEL, 10)
    assert (again.job, again.deliveries) == (held.job, 2)
    assert await successor.committer.commit(again, Acknowledge())
    assert await successor.inbox.claim_own(CHANNEL, 10) == []


# A message is published once


async def test_an_id_is_published_once_and_its_sender_gets_the_echo_again(wire: Wire) -> None:
    id = new_id()
    await wire.end(Publish(b'"first"'), id=id)
    again = await wire.end(Publish(b'"scaled otherwise"'), id=id, connection=2)
    first, second = await wire.outbox()
    assert first.body == b'"first"'
    assert (second.outcome, second.source, second.body) == (Outcome.DUPLICATE, again.source, b'"first"')
    assert not second.is_broadcast
    assert await wire.history() == [b'"first"']


async def test_jobs_without_ids_are_not_duplicates(wire: Wire) -> None:
    for _ in range(3):
        await wire.end(Publish(b"{}"))
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED] * 3


async def test_a_refused_message_may_be_sent_again_with_its_id(wire: Wire) -> None:
    id = new_id()
    for effect in (Refuse("No."), DeadLetter("It crashed."), Publish(b"{}")):
        await wire.end(effect, id=id)
    assert [one.outcome for one in await wire.outbox()] == [Outcome.REFUSED, Outcome.DEAD_LETTERED, Outcome.PUBLISHED]


async def test_only_the_last_ids_are_remembered(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "IDS_NUMBER", 2)
    monkeypatch.setattr(scripts, "IDS_STEP", 1)
    wire = start()
    ids = [new_id() for _ in range(3)]
    for id in ids:
        await wire.end(Publish(b"{}"), id=id)
        await wire.let_a_moment_pass()  # because ids of the same millisecond have no order
    for id in (ids[2], ids[1], ids[0]):
        await wire.end(Publish(b"{}"), id=id)
    outcomes = [one.outcome for one in await wire.outbox()]
    assert outcomes[3:] == [Outcome.DUPLICATE, Outcome.DUPLICATE, Outcome.PUBLISHED]


async def test_ids_are_remembered_for_a_time(start: Start) -> None:
    wire = start(timings=FORGETFUL)
    old = new_id()
    await wire.end(Publish(b"{}"), id=old)
    await wire.let_a_moment_pass()
    await wire.end(Publish(b"{}"), id=new_id())
    await wire.end(Publish(b"{}"), id=old)
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED] * 3


async def test_old_ids_are_removed_gradually(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "IDS_STEP", 5)
    wire = start(timings=FORGETFUL)
    kept = []
    for _ in range(10):
        await wire.end(Publish(b"{}"), id=new_id())
        await wire.let_a_moment_pass()  # until it is old
        kept.append(int(await wire.redis.call("ZCARD", wire.keys.ids, key=wire.keys.ids)))
    # An id that has just been published is not older than zero seconds
    assert kept == [1, 2, 3, 4, 1, 2, 3, 4, 5, 1]


# Likes


async def test_a_duplicate_like_is_published_once(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.news()
    id = new_id()
    like = encoded("like", id=id)
    for _ in range(2):
        await wire.end(Like("jane"), like, id=id)
    first, second = await wire.news()
    assert (first.to, bool(first.body)) == ("front-1/1", True)
    assert (second.outcome, second.to, second.body) == (Outcome.DUPLICATE, "", b"")


# Authors, where registration is required


@pytest.mark.parametrize("type_", [*BROADCAST, "like"])
async def test_nothing_is_published_with_another_connections_nickname(start: Start, type_: str) -> None:
    # Given two connections of live fronts, one of them registered, and a message as a front encodes it
    wire = start(require_registration=True)
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane", connection=1)
    await wire.news()
    signed = {"liker_author" if type_ == "like" else "author": "jane"}

    async def say(connection: int) -> Publication:
        message = MessageParser(wire.settings).parse(msgspec.json.encode(sample(type_, **signed)))
        effect = Like("jane") if type_ == "like" else Publish(message.body)
        await wire.end(effect, message.body, type=type_, id=message.id, connection=connection)
        (published,) = await wire.news()
        return published

    # When the unregistered one sends it
    refused = await say(2)

    # Then only its sender gets the reason, and nothing is stored
    assert (refused.outcome, refused.is_broadcast) == (Outcome.REFUSED, False)
    assert shown([refused]) == [("uncompliant", NOT_YOURS)]
    assert await wire.history() == []
    # The registered one may send it; so may any connection if nobody holds the nickname, which Redis may have lost
    assert (await say(1)).outcome is not Outcome.REFUSED
    await wire.end(Leave(), type="leave", connection=1)
    await wire.news()
    assert (await say(2)).outcome is not Outcome.REFUSED


async def test_without_required_registration_any_author_is_accepted(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane", connection=1)
    await wire.news()
    message = MessageParser(wire.settings).parse(msgspec.json.encode(sample("text", author="jane")))
    await wire.end(Publish(message.body), message.body, id=message.id, connection=2)
    assert [one.outcome for one in await wire.news()] == [Outcome.PUBLISHED]


# All of it together


@pytest.mark.parametrize("seed", range(6))
async def test_counters_are_correct_after_any_sequence_of_events(
    start: Start, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # Given a channel with narrow limits, late workers and dying fronts
    monkeypatch.setattr(scripts, "DEAD_LETTERS", 3)
    wire = start(max_outbox_messages=20, max_outbox_bytes=5000, max_inbox_bytes=5000, max_stored_messages=3)
    await wire.worker.inbox.create_groups()
    chance = random.Random(seed)
    ids = [new_id() for _ in range(5)]
    fronts = [wire.new_front(f"front-{number}") for number in (1, 2)]
    held: list[Delivery] = []

    def effect() -> Effect:
        nickname = chance.choice(["jane", "joan", "john"])
        body = b"x" * chance.choice([0, 10, 1000, 6000])
        effects: list[Effect] = [
            Publish(body),
            Refuse("No."),
            Acknowledge(),
            DeadLetter("It crashed."),
            Count(chance.randrange(4)),
        ]
        return chance.choice([*effects, Register(nickname), Exit(nickname), Leave(), Like(nickname)])

    async def enqueue() -> None:
        front, body = chance.choice(fronts).front, b"y" * chance.choice([0, 2, 900])
        await wire.enqueue(wire.job(body, id=chance.choice(["", *ids]), front=front, connection=chance.randrange(3)))
        held.extend(await wire.worker.inbox.read([CHANNEL], count=5))

    async def end() -> None:
        if held:
            await wire.worker.committer.commit(chance.choice(held), effect())  # possibly a second time

    async def live_or_die() -> None:
        front = chance.choice(fronts)
        await front.presence.renew_lease(CHANNEL, chance.choice([ALIVE, ALIVE, DEAD]))
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
