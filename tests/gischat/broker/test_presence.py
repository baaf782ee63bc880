"""Nicknames, user counts and leases, and the removal of dead fronts."""

import msgspec
import pytest

from gischat.broker.entries import Outcome
from gischat.broker.presence import Renewal
from gischat.protocol.messages import new_id
from tests.gischat.broker.wire import (
    ALIVE,
    CHANNEL,
    DEAD,
    Wire,
    assert_presence_is_right,
    encoded,
    everything,
    shown,
)
from tests.support.contract import check
from worker.effects import (
    Count,
    Exit,
    Leave,
    Publish,
    Restore,
)

pytestmark = pytest.mark.usefixtures("io_loop")


# Nicknames


async def test_a_taken_nickname_is_refused_with_the_contracts_text(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.news()
    job = await wire.register("jane", connection=2)
    challenge, told = await wire.news()
    assert (told.outcome, told.source, told.to) == (Outcome.REFUSED, job.source, "")
    assert shown([told]) == [("uncompliant", f"User 'jane' already registered in channel {CHANNEL}")]
    assert (challenge.outcome, challenge.type) == (Outcome.CONTROL, "challenge")
    assert msgspec.json.decode(challenge.body) == {"connection": "front-1/1", "client": ""}
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_a_duplicate_registration_is_published_once(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    job = await wire.register("jane")
    await wire.register("jane", id=job.id)
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED, Outcome.DUPLICATE]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_a_swept_front_registers_no_nickname_and_its_client_is_told(wire: Wire) -> None:
    """The nickname would remain for ever; and if the front lives, its client must know that it is not registered."""
    job = await wire.register("jane")
    (ended,) = await wire.outbox()
    assert (ended.source, ended.outcome, ended.type) == (job.source, Outcome.REFUSED, "uncompliant")
    check(msgspec.json.decode(ended.body))
    await assert_presence_is_right(wire, {})


async def test_jobs_of_a_front_with_an_expired_lease_take_effect_until_it_is_swept(wire: Wire) -> None:
    """After an outage of Redis longer than a lease, a front's jobs may be processed before its lease is renewed."""
    await wire.front.presence.renew_lease(CHANNEL, DEAD)
    # When it sends a count, a new nickname and one that Redis had lost
    await wire.end(Count(2), type="count")
    await wire.register("jane")
    await wire.end(Restore("joan"), id=new_id(), connection=2)
    # Then all of them are valid as soon as its lease is renewed
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    assert await wire.front.presence.user_counts([CHANNEL]) == [2]
    await assert_presence_is_right(wire, {"jane": "front-1/1", "joan": "front-1/2"})
    # And removed if it is not renewed
    await wire.front.presence.renew_lease(CHANNEL, DEAD)
    await wire.worker.presence.reap(CHANNEL, "front-1")
    await assert_presence_is_right(wire, {})


@pytest.mark.parametrize("sender", [1, 2, 3])
async def test_an_exiter_for_another_connection_is_not_published(wire: Wire, sender: int) -> None:
    # Given jane and joan, and a connection without a nickname
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    for connection, nickname in enumerate(("jane", "joan"), 1):
        await wire.register(nickname, connection=connection)
    await wire.news()
    # When one sends an `exiter` for another
    other = "jane" if sender != 1 else "joan"
    job = await wire.end(Exit(other), encoded("exiter", exiter=other), connection=sender)
    # Then it is not published
    (told,) = await wire.news()
    assert (told.outcome, told.source) == (Outcome.REFUSED, job.source)
    assert shown([told]) == [("uncompliant", f"You are not registered as '{other}'.")]
    await assert_presence_is_right(wire, {"jane": "front-1/1", "joan": "front-1/2"})


async def test_an_unregistered_connection_may_send_an_exiter_with_a_free_nickname(wire: Wire) -> None:
    body = encoded("exiter", exiter="jane")
    await wire.end(Exit("jane"), body, id=new_id())
    assert [one.body for one in await wire.outbox()] == [body]


async def test_a_registered_connection_cannot_send_an_exiter_with_another_nickname(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.end(Exit("john"), encoded("exiter", exiter="john"))
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED, Outcome.REFUSED]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_a_duplicate_exiter_is_published_once(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    id = new_id()
    for _ in range(2):
        await wire.end(Exit("jane"), encoded("exiter", id=id, exiter="jane"), id=id)
    outcomes = [one.outcome for one in await wire.outbox()]
    assert outcomes == [Outcome.PUBLISHED, Outcome.PUBLISHED, Outcome.DUPLICATE]


async def test_the_end_of_a_connection_without_a_nickname_is_not_published(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.news()
    job = await wire.end(Leave(), connection=11)  # its number begins with that of connection 1, which must stay
    (ended,) = await wire.news()
    assert (ended.source, ended.outcome, ended.body) == (job.source, Outcome.DONE, b"")
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


# Nicknames that Redis has lost


async def test_a_lost_nickname_is_restored_without_a_newcomer(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    job = await wire.end(Restore("jane"))
    (ended,) = await wire.outbox()
    # It is delivered only to clients that have received an `exiter`
    assert (ended.source, ended.outcome, ended.is_broadcast) == (job.source, Outcome.RESTORED, False)
    assert shown([ended]) == [("newcomer", "jane")]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_restoring_an_existing_nickname_changes_nothing(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.end(Restore("jane"))
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED, Outcome.DONE]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_a_lost_nickname_taken_by_another_connection_is_not_restored(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane", connection=2)
    job = await wire.end(Restore("jane"))
    told = (await wire.outbox())[-1]
    assert (told.outcome, told.source) == (Outcome.REFUSED, job.source)
    assert "jane" in shown([told])[0][1]
    await assert_presence_is_right(wire, {"jane": "front-1/2"})


async def test_a_swept_front_restores_nothing(wire: Wire) -> None:
    await wire.end(Restore("jane"))
    await assert_presence_is_right(wire, {})


async def test_a_duplicate_restore_does_not_register_a_closed_connection(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    id = new_id()
    await wire.end(Restore("jane"), id=id)
    await wire.end(Leave())
    await wire.end(Restore("jane"), id=id)
    await assert_presence_is_right(wire, {})


async def test_a_restored_nickname_replaces_one_registered_since(wire: Wire) -> None:
    """A flush while a client changes its nickname: its front restores the old one after the new one."""
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("joan")
    await wire.end(Restore("jane"))
    # Then the connection has one nickname, and none remains when it leaves
    assert len(await wire.nicknames()) == 1
    await wire.end(Leave())
    await assert_presence_is_right(wire, {})


# Counts and leases


async def test_a_front_without_connections_counts_none(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    for connections in (7, 0):
        await wire.end(Count(connections), type="count")
    assert shown(await wire.outbox()) == [("nb_users", 7), ("nb_users", 0)]
    assert await wire.hash("counts") == {}


async def test_a_swept_front_does_not_count(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.new_front("front-2").presence.renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(2), front="front-1")
    await wire.end(Count(3), front="front-2")
    await wire.new_front("front-2").presence.renew_lease(CHANNEL, DEAD)
    assert await wire.front.presence.user_counts([CHANNEL]) == [2]
    await wire.worker.presence.reap(CHANNEL, "front-2")
    # Its late count changes nothing, and gets a result nevertheless
    job = await wire.end(Count(9), front="front-2")
    assert (await wire.outbox())[-1].source == job.source
    assert shown(await wire.outbox())[-1] == ("nb_users", 2)


async def test_a_duplicate_count_does_not_replace_a_newer_one(wire: Wire) -> None:
    """It was resent, and is processed after the front has sent another count."""
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    first, second = new_id(), new_id()
    for id, connections in ((first, 5), (second, 6), (first, 5)):
        await wire.end(Count(connections), type="count", id=id)
    assert shown(await wire.outbox()) == [("nb_users", 5), ("nb_users", 6)]
    assert (await wire.outbox())[-1].outcome is Outcome.DUPLICATE
    assert await wire.front.presence.user_counts([CHANNEL]) == [6]


async def test_renewing_a_lease_returns_whether_it_was_new_and_the_offset(wire: Wire) -> None:
    assert await wire.front.presence.renew_lease(CHANNEL, ALIVE) == Renewal(False, 0)
    await wire.end(Publish(b"{}"))
    assert await wire.front.presence.renew_lease(CHANNEL, DEAD) == Renewal(True, 1)


async def test_renewing_an_expired_lease_reports_it(wire: Wire) -> None:
    """Counts did not include this front meanwhile: it must send its own again."""
    await wire.front.presence.renew_lease(CHANNEL, DEAD)
    assert await wire.front.presence.renew_lease(CHANNEL, ALIVE) == Renewal(True, 0, had_expired=True)
    assert await wire.front.presence.renew_lease(CHANNEL, ALIVE) == Renewal(True, 0)


async def test_a_front_with_an_expired_lease_is_dead_until_it_is_renewed(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.new_front("front-2").presence.renew_lease(CHANNEL, DEAD)
    assert await wire.worker.presence.expired_fronts(CHANNEL) == ["front-2"]
    await wire.new_front("front-2").presence.renew_lease(CHANNEL, ALIVE)
    assert await wire.worker.presence.expired_fronts(CHANNEL) == []


async def test_a_front_that_resigns_is_not_swept(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(2))
    await wire.front.presence.release_lease(CHANNEL)
    assert await wire.worker.presence.expired_fronts(CHANNEL) == []
    assert await wire.front.presence.user_counts([CHANNEL]) == [0]
    assert await wire.front.presence.renew_lease(CHANNEL, ALIVE) == Renewal(False, 1)


async def test_a_front_that_resigns_too_early_leaves_no_nickname_behind(wire: Wire) -> None:
    # Given a front that resigns although one connection's end was not processed
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(1), type="count")
    await wire.register("jane")
    await wire.front.presence.renew_lease(CHANNEL, DEAD)
    await wire.front.presence.release_lease(CHANNEL)
    # Then a worker finds it when its lease has expired
    assert await wire.worker.presence.expired_fronts(CHANNEL) == ["front-1"]
    await wire.worker.presence.reap(CHANNEL, "front-1")
    # And nothing is left of it
    await assert_presence_is_right(wire, {})


# Sweeping


async def dying_front(wire: Wire, name: str = "front-1", people: int = 3) -> None:
    """A front with registered connections, whose lease then expires."""
    await wire.new_front(name).presence.renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(people), front=name)
    for number in range(people):
        await wire.register(f"{name}-{number}", front=name, connection=number)
    await wire.new_front(name).presence.renew_lease(CHANNEL, DEAD)
    await wire.news()


async def test_sweeping_a_dead_front_removes_its_nicknames_and_publishes_exiters_and_the_count(wire: Wire) -> None:
    # Given a dead front, and two live ones, one of whose names begins with that of the dead one
    for living in ("front-2", "front-11"):
        await wire.new_front(living).presence.renew_lease(CHANNEL, ALIVE)
        await wire.end(Count(1), front=living)
        await wire.register(f"guest-of-{living}", front=living)
    await dying_front(wire, "front-1")
    # When it is swept
    await wire.worker.presence.reap(CHANNEL, "front-1")
    # Then all its nicknames have left, the count is that of the live fronts, and theirs are unchanged
    told = await wire.news()
    exits = [("exiter", f"front-1-{number}") for number in range(3)]
    assert sorted(shown(told)[:-1]) == exits
    assert shown(told)[-1] == ("nb_users", 2)
    assert all(one.is_broadcast and one.source is None for one in told)
    await assert_presence_is_right(wire, {"guest-of-front-2": "front-2/1", "guest-of-front-11": "front-11/1"})
    assert await wire.worker.presence.expired_fronts(CHANNEL) == []


async def test_a_front_is_swept_once_by_many_workers(wire: Wire) -> None:
    await dying_front(wire)
    for worker in (wire.worker, wire.new_worker("worker-2")):
        await worker.presence.reap(CHANNEL, "front-1")
    assert len(await wire.news()) == 4


async def test_sweeping_a_front_without_nicknames_publishes_nothing(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, DEAD)
    await wire.worker.presence.reap(CHANNEL, "front-1")
    assert await wire.outbox() == []
    assert await wire.worker.presence.expired_fronts(CHANNEL) == []


@pytest.mark.parametrize("lease", [None, ALIVE])
async def test_a_front_that_is_not_dead_is_not_swept(wire: Wire, lease: float | None) -> None:
    await dying_front(wire, people=0 if lease is None else 3)
    if lease is None:
        await wire.front.presence.release_lease(CHANNEL)
    else:
        await wire.front.presence.renew_lease(CHANNEL, lease)  # it was slow, not dead
    before = await everything(wire)
    await wire.worker.presence.reap(CHANNEL, "front-1")
    assert await everything(wire) == before


async def test_nicknames_of_a_swept_front_that_returns_are_announced_again(wire: Wire) -> None:
    # Given a front that was frozen until it was swept
    await dying_front(wire, people=1)
    await wire.worker.presence.reap(CHANNEL, "front-1")
    await wire.news()
    # When it returns and restores its nickname
    assert not (await wire.front.presence.renew_lease(CHANNEL, ALIVE)).was_known
    job = await wire.end(Restore("front-1-0"), connection=0)
    # Then the channel, which has received an `exiter`, receives a `newcomer`
    (told,) = await wire.news()
    assert (told.source, told.is_broadcast) == (job.source, True)
    assert shown([told]) == [("newcomer", "front-1-0")]
    await assert_presence_is_right(wire, {"front-1-0": "front-1/0"})
