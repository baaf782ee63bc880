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


async def test_a_nickname_that_is_taken_is_refused_in_the_contracts_words(wire: Wire) -> None:
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


async def test_a_registration_that_comes_twice_is_told_once(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    job = await wire.register("jane")
    await wire.register("jane", id=job.id)
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED, Outcome.DUPLICATE]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_a_front_that_was_swept_gets_no_nickname_and_its_client_is_told(wire: Wire) -> None:
    """What is registered now would be a ghost; and if the front lives, nobody may be left to think that it is not."""
    job = await wire.register("jane")
    (ended,) = await wire.outbox()
    assert (ended.source, ended.outcome, ended.type) == (job.source, Outcome.REFUSED, "uncompliant")
    check(msgspec.json.decode(ended.body))
    await assert_presence_is_right(wire, {})


async def test_what_a_front_says_counts_though_its_lease_has_run_out_until_it_is_swept(wire: Wire) -> None:
    """Redis was away for longer than a lease: what fronts say may be heard before their next sign of life."""
    await wire.front.presence.renew_lease(CHANNEL, DEAD)
    # When it tells a count, a new nickname and one that Redis had lost
    await wire.end(Count(2), type="count")
    await wire.register("jane")
    await wire.end(Restore("joan"), id=new_id(), connection=2)
    # Then all that holds as soon as it shows that it lives
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    assert await wire.front.presence.user_counts([CHANNEL]) == [2]
    await assert_presence_is_right(wire, {"jane": "front-1/1", "joan": "front-1/2"})
    # And is swept if it does not
    await wire.front.presence.renew_lease(CHANNEL, DEAD)
    await wire.worker.presence.reap(CHANNEL, "front-1")
    await assert_presence_is_right(wire, {})


@pytest.mark.parametrize("sender", [1, 2, 3])
async def test_nobody_says_an_exiter_for_somebody_else(wire: Wire, sender: int) -> None:
    # Given jane and joan, and one without a nickname
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    for connection, nickname in enumerate(("jane", "joan"), 1):
        await wire.register(nickname, connection=connection)
    await wire.news()
    # When one says that another goes
    other = "jane" if sender != 1 else "joan"
    job = await wire.end(Exit(other), encoded("exiter", exiter=other), connection=sender)
    # Then nobody else hears of it
    (told,) = await wire.news()
    assert (told.outcome, told.source) == (Outcome.REFUSED, job.source)
    assert shown([told]) == [("uncompliant", f"You are not registered as '{other}'.")]
    await assert_presence_is_right(wire, {"jane": "front-1/1", "joan": "front-1/2"})


async def test_who_never_registered_may_say_goodbye_under_a_nickname_that_is_nobodys(wire: Wire) -> None:
    body = encoded("exiter", exiter="jane")
    await wire.end(Exit("jane"), body, id=new_id())
    assert [one.body for one in await wire.outbox()] == [body]


async def test_who_is_registered_cannot_say_goodbye_under_another_nickname(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.end(Exit("john"), encoded("exiter", exiter="john"))
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED, Outcome.REFUSED]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_an_exiter_that_comes_twice_is_told_once(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    id = new_id()
    for _ in range(2):
        await wire.end(Exit("jane"), encoded("exiter", id=id, exiter="jane"), id=id)
    outcomes = [one.outcome for one in await wire.outbox()]
    assert outcomes == [Outcome.PUBLISHED, Outcome.PUBLISHED, Outcome.DUPLICATE]


async def test_a_connection_without_a_nickname_ends_in_silence(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.news()
    job = await wire.end(Leave(), connection=11)  # no other than connection 1, whose number it begins with
    (ended,) = await wire.news()
    assert (ended.source, ended.outcome, ended.body) == (job.source, Outcome.DONE, b"")
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


# Nicknames that Redis has lost


async def test_a_nickname_that_redis_has_lost_is_set_again_in_silence(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    job = await wire.end(Restore("jane"))
    (ended,) = await wire.outbox()
    # For those alone who believe that it is gone
    assert (ended.source, ended.outcome, ended.is_broadcast) == (job.source, Outcome.RESTORED, False)
    assert shown([ended]) == [("newcomer", "jane")]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_a_nickname_that_is_still_there_is_restored_to_the_same(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.end(Restore("jane"))
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED, Outcome.DONE]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_a_nickname_that_somebody_else_took_meanwhile_is_theirs(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane", connection=2)
    job = await wire.end(Restore("jane"))
    told = (await wire.outbox())[-1]
    assert (told.outcome, told.source) == (Outcome.REFUSED, job.source)
    assert "jane" in shown([told])[0][1]
    await assert_presence_is_right(wire, {"jane": "front-1/2"})


async def test_a_front_that_was_swept_restores_nothing(wire: Wire) -> None:
    await wire.end(Restore("jane"))
    await assert_presence_is_right(wire, {})


async def test_a_restored_nickname_that_comes_twice_is_no_ghost_of_who_has_gone(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    id = new_id()
    await wire.end(Restore("jane"), id=id)
    await wire.end(Leave())
    await wire.end(Restore("jane"), id=id)
    await assert_presence_is_right(wire, {})


async def test_a_restored_nickname_leaves_no_ghost_of_one_that_was_registered_since(wire: Wire) -> None:
    """A flush while a client takes another nickname: its front tells the old one again, behind the new one."""
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("joan")
    await wire.end(Restore("jane"))
    # Then the connection has one nickname, and when it has gone there is none
    assert len(await wire.nicknames()) == 1
    await wire.end(Leave())
    await assert_presence_is_right(wire, {})


# Counts and leases


async def test_a_front_whose_connections_have_gone_counts_none(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    for connections in (7, 0):
        await wire.end(Count(connections), type="count")
    assert shown(await wire.outbox()) == [("nb_users", 7), ("nb_users", 0)]
    assert await wire.hash("counts") == {}


async def test_a_front_that_was_swept_does_not_count(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.new_front("front-2").presence.renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(2), front="front-1")
    await wire.end(Count(3), front="front-2")
    await wire.new_front("front-2").presence.renew_lease(CHANNEL, DEAD)
    assert await wire.front.presence.user_counts([CHANNEL]) == [2]
    await wire.worker.presence.reap(CHANNEL, "front-2")
    # What it says too late changes nothing, and is answered all the same
    job = await wire.end(Count(9), front="front-2")
    assert (await wire.outbox())[-1].source == job.source
    assert shown(await wire.outbox())[-1] == ("nb_users", 2)


async def test_a_count_that_comes_twice_is_not_taken_for_a_newer_one(wire: Wire) -> None:
    """Enqueued again, and late: the front has told another count meanwhile."""
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    first, second = new_id(), new_id()
    for id, connections in ((first, 5), (second, 6), (first, 5)):
        await wire.end(Count(connections), type="count", id=id)
    assert shown(await wire.outbox()) == [("nb_users", 5), ("nb_users", 6)]
    assert (await wire.outbox())[-1].outcome is Outcome.DUPLICATE
    assert await wire.front.presence.user_counts([CHANNEL]) == [6]


async def test_a_lease_is_new_or_known_and_tells_how_much_was_published(wire: Wire) -> None:
    assert await wire.front.presence.renew_lease(CHANNEL, ALIVE) == Renewal(False, 0)
    await wire.end(Publish(b"{}"))
    assert await wire.front.presence.renew_lease(CHANNEL, DEAD) == Renewal(True, 1)


async def test_a_lease_that_had_run_out_tells_so_when_it_is_renewed(wire: Wire) -> None:
    """Meanwhile counts were told without this front: it has to tell its own again."""
    await wire.front.presence.renew_lease(CHANNEL, DEAD)
    assert await wire.front.presence.renew_lease(CHANNEL, ALIVE) == Renewal(True, 0, had_expired=True)
    assert await wire.front.presence.renew_lease(CHANNEL, ALIVE) == Renewal(True, 0)


async def test_a_front_whose_lease_has_run_out_is_dead_until_it_is_renewed(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.new_front("front-2").presence.renew_lease(CHANNEL, DEAD)
    assert await wire.worker.presence.expired_fronts(CHANNEL) == ["front-2"]
    await wire.new_front("front-2").presence.renew_lease(CHANNEL, ALIVE)
    assert await wire.worker.presence.expired_fronts(CHANNEL) == []


async def test_a_front_that_resigns_is_nobodys_to_look_for(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(2))
    await wire.front.presence.release_lease(CHANNEL)
    assert await wire.worker.presence.expired_fronts(CHANNEL) == []
    assert await wire.front.presence.user_counts([CHANNEL]) == [0]
    assert await wire.front.presence.renew_lease(CHANNEL, ALIVE) == Renewal(False, 1)


async def test_a_front_that_resigns_too_early_leaves_no_nickname_that_nobody_can_ever_take(wire: Wire) -> None:
    # Given a front that goes though one of its connections' ends was not told
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(1), type="count")
    await wire.register("jane")
    await wire.front.presence.renew_lease(CHANNEL, DEAD)
    await wire.front.presence.release_lease(CHANNEL)
    # Then a worker finds it when its lease has run out
    assert await wire.worker.presence.expired_fronts(CHANNEL) == ["front-1"]
    await wire.worker.presence.reap(CHANNEL, "front-1")
    # And nothing is left of it
    await assert_presence_is_right(wire, {})


# Sweeping


async def dying_front(wire: Wire, name: str = "front-1", people: int = 3) -> None:
    """A front with registered connections, whose lease then runs out."""
    await wire.new_front(name).presence.renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(people), front=name)
    for number in range(people):
        await wire.register(f"{name}-{number}", front=name, connection=number)
    await wire.new_front(name).presence.renew_lease(CHANNEL, DEAD)
    await wire.news()


async def test_a_dead_front_is_swept_away_with_its_people_and_everyone_told(wire: Wire) -> None:
    # Given a front that died, and two that live, one of them with a name that begins alike
    for living in ("front-2", "front-11"):
        await wire.new_front(living).presence.renew_lease(CHANNEL, ALIVE)
        await wire.end(Count(1), front=living)
        await wire.register(f"guest-of-{living}", front=living)
    await dying_front(wire, "front-1")
    # When it is swept
    await wire.worker.presence.reap(CHANNEL, "front-1")
    # Then each of its people has left, the count is that of the living, and nobody else is touched
    told = await wire.news()
    exits = [("exiter", f"front-1-{number}") for number in range(3)]
    assert sorted(shown(told)[:-1]) == exits
    assert shown(told)[-1] == ("nb_users", 2)
    assert all(one.is_broadcast and one.source is None for one in told)
    await assert_presence_is_right(wire, {"guest-of-front-2": "front-2/1", "guest-of-front-11": "front-11/1"})
    assert await wire.worker.presence.expired_fronts(CHANNEL) == []


async def test_a_front_is_swept_once_however_many_workers_do(wire: Wire) -> None:
    await dying_front(wire)
    for worker in (wire.worker, wire.new_worker("worker-2")):
        await worker.presence.reap(CHANNEL, "front-1")
    assert len(await wire.news()) == 4


async def test_a_front_without_people_is_swept_in_silence(wire: Wire) -> None:
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
        await wire.front.presence.renew_lease(CHANNEL, lease)  # it was only slow
    before = await everything(wire)
    await wire.worker.presence.reap(CHANNEL, "front-1")
    assert await everything(wire) == before


async def test_people_of_a_front_that_was_swept_and_comes_back_are_announced_again(wire: Wire) -> None:
    # Given a front that was frozen for so long that it was swept
    await dying_front(wire, people=1)
    await wire.worker.presence.reap(CHANNEL, "front-1")
    await wire.news()
    # When it comes back and tells its nickname again
    assert not (await wire.front.presence.renew_lease(CHANNEL, ALIVE)).was_known
    job = await wire.end(Restore("front-1-0"), connection=0)
    # Then the channel, which was told of an exit, is told that she is there
    (told,) = await wire.news()
    assert (told.source, told.is_broadcast) == (job.source, True)
    assert shown([told]) == [("newcomer", "front-1-0")]
    await assert_presence_is_right(wire, {"front-1-0": "front-1/0"})
