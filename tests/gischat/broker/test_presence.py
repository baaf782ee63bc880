"""Nicknames, user counts and leases, and the removal of dead fronts."""

import msgspec
import pytest

from gischat.broker.entries import Outcome
from gischat.broker.presence import Renewal
from gischat.protocol.messages import new_id
from tests.gischat.broker.wire import (
    CHANNEL,
    DEAD,
    Start,
    Wire,
    assert_presence_is_right,
    encoded,
    everything,
    shown,
)
from worker.effects import Count, Exit, Publish, Restore

pytestmark = pytest.mark.usefixtures("io_loop")

PUBLISHED, DONE, DUPLICATE, REFUSED = Outcome.PUBLISHED, Outcome.DONE, Outcome.DUPLICATE, Outcome.REFUSED


async def counts(wire: Wire) -> int:
    (count,) = await wire.front.presence.user_counts([CHANNEL])
    return count


# Nicknames


async def test_a_nickname_has_one_holder_whom_the_next_one_challenges(wire: Wire) -> None:
    first = await wire.register("jane")
    await wire.register("jane", id=first.id)  # processed twice
    assert await wire.outcomes() == [PUBLISHED, DUPLICATE]
    job = await wire.register("jane", connection=2)
    challenge, told = await wire.news()
    assert (told.outcome, told.source, told.to) == (REFUSED, job.source, "")
    assert shown([told]) == [("uncompliant", f"User 'jane' already registered in channel {CHANNEL}")]
    assert (challenge.outcome, challenge.type) == (Outcome.CONTROL, "challenge")
    assert msgspec.json.decode(challenge.body) == {"connection": "front-1/1", "client": ""}
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_an_exiter_is_for_ones_own_nickname_or_a_free_one(wire: Wire) -> None:
    # Given jane and joan, and a connection without a nickname
    for connection, nickname in enumerate(("jane", "joan"), 1):
        await wire.register(nickname, connection=connection)
    await wire.news()
    # When one sends an `exiter` for another, or in vain for a nickname that is free, then only the sender is told
    for connection, other in ((1, "joan"), (2, "jane"), (3, "jane"), (1, "john")):
        job = await wire.end(Exit(other), encoded("exiter", exiter=other), connection=connection)
        (told,) = await wire.news()
        assert (told.outcome, told.source) == (REFUSED, job.source)
        assert shown([told]) == [("uncompliant", f"You are not registered as '{other}'.")]
    await assert_presence_is_right(wire, {"jane": "front-1/1", "joan": "front-1/2"})
    # … except from a connection without a nickname, and one's own is given up once
    for connection, nickname, outcomes in ((3, "john", [PUBLISHED]), (1, "jane", [PUBLISHED, DUPLICATE])):
        body = encoded("exiter", id=(id := new_id()), exiter=nickname)
        for _ in outcomes:
            await wire.end(Exit(nickname), body, id=id, connection=connection)
        found = await wire.news()
        assert [one.outcome for one in found] == outcomes
        assert found[0].body == body
    await assert_presence_is_right(wire, {"joan": "front-1/2"})


async def test_a_lost_nickname_is_restored_once_and_without_a_newcomer(wire: Wire) -> None:
    job = await wire.end(Restore("jane"), id=(id := new_id()))
    (ended,) = await wire.news()
    # It is delivered only to clients that have received an `exiter`
    assert (ended.source, ended.outcome, ended.is_broadcast) == (job.source, Outcome.RESTORED, False)
    assert shown([ended]) == [("newcomer", "jane")]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})
    # An existing one is not changed, and a job that is processed twice registers no closed connection
    await wire.end(Restore("jane"))
    await wire.leave()
    await wire.end(Restore("jane"), id=id)
    assert await wire.outcomes() == [DONE, PUBLISHED, DUPLICATE]
    await assert_presence_is_right(wire, {})


async def test_a_connection_has_one_nickname_although_another_is_restored(wire: Wire) -> None:
    """A flush while a client changes its nickname: its front restores the old one after the new one."""
    await wire.register("joan")
    await wire.end(Restore("jane"))
    await assert_presence_is_right(wire, {"joan": "front-1/1"})
    # The end of a connection without a nickname, whose number begins with that one's, changes nothing
    await wire.leave(connection=11)
    assert await wire.outcomes() == [PUBLISHED, DONE, DONE]
    await wire.leave()
    await assert_presence_is_right(wire, {})


async def test_a_swept_front_registers_and_counts_nothing_and_its_clients_are_told(start: Start) -> None:
    """The nickname would remain for ever; and if the front lives, its client must know that it is not registered."""
    wire = start()
    jobs = [await wire.register("jane"), await wire.end(Restore("jane")), await wire.end(Count(9))]
    refused, restored, counted = await wire.news()
    assert [one.source for one in (refused, restored, counted)] == [job.source for job in jobs]
    assert (refused.outcome, shown([refused])[0][0], restored.outcome) == (REFUSED, "uncompliant", DONE)
    assert shown([counted]) == [("nb_users", 0)]
    await assert_presence_is_right(wire, {})


async def test_jobs_of_a_front_with_an_expired_lease_take_effect_until_it_is_swept(wire: Wire) -> None:
    """After an outage of Redis longer than a lease, a front's jobs may be processed before its lease is renewed."""
    await wire.renew(seconds=DEAD)
    # When it sends a count, a new nickname and one that Redis had lost
    await wire.end(Count(2))
    await wire.register("jane")
    await wire.end(Restore("joan"), id=new_id(), connection=2)
    # Then all of them are valid as soon as its lease is renewed
    await wire.renew()
    assert await counts(wire) == 2
    await assert_presence_is_right(wire, {"jane": "front-1/1", "joan": "front-1/2"})
    # And removed if it is not renewed
    await wire.renew(seconds=DEAD)
    await wire.worker.presence.reap(CHANNEL, "front-1")
    await assert_presence_is_right(wire, {})


# Counts and leases


async def test_a_front_counts_its_connections_and_none_twice(wire: Wire) -> None:
    # When a count is resent, and processed after the front has sent another
    first, second = new_id(), new_id()
    for id, connections in ((first, 5), (second, 6), (first, 5)):
        await wire.end(Count(connections), id=id)
    assert await counts(wire) == 6
    await wire.end(Count(0))
    news = await wire.news()
    assert shown(news) == [("nb_users", 5), ("nb_users", 6), ("nb_users", 0)]
    assert news[2].outcome is DUPLICATE
    assert await wire.hash("counts") == {}


async def test_renewing_a_lease_returns_what_redis_knows_of_the_front(start: Start) -> None:
    wire = start()
    assert await wire.renew() == Renewal(False, 0)
    await wire.end(Publish(b"{}"))
    assert await wire.renew(seconds=DEAD) == Renewal(True, 1)
    assert await wire.worker.presence.expired_fronts(CHANNEL) == ["front-1"]
    # Counts did not include a front whose lease had expired: it must send its own again
    assert await wire.renew() == Renewal(True, 1, had_expired=True)
    assert await wire.worker.presence.expired_fronts(CHANNEL) == []
    await wire.end(Count(2))
    assert await wire.renew() == Renewal(True, 2, connections=2)
    # A front that resigns is not swept
    await wire.front.presence.release_lease(CHANNEL)
    assert await wire.worker.presence.expired_fronts(CHANNEL) == []
    assert (await counts(wire), await wire.renew()) == (0, Renewal(False, 2))


async def test_a_front_that_resigns_too_early_leaves_no_nickname_behind(wire: Wire) -> None:
    # Given a front that resigns although one connection's end was not processed
    await wire.end(Count(1))
    await wire.register("jane")
    await wire.renew(seconds=DEAD)
    await wire.front.presence.release_lease(CHANNEL)
    # Then a worker finds it when its lease has expired
    assert await wire.worker.presence.expired_fronts(CHANNEL) == ["front-1"]
    await wire.worker.presence.reap(CHANNEL, "front-1")
    # And nothing is left of it
    await assert_presence_is_right(wire, {})


# Sweeping


async def dying_front(wire: Wire, people: int = 3) -> None:
    """Let the lease of front-1, which has registered connections, expire."""
    await wire.end(Count(people))
    for number in range(people):
        await wire.register(f"guest-{number}", connection=number)
    await wire.renew(seconds=DEAD)
    await wire.news()


async def test_a_dead_front_is_swept_once_with_its_nicknames_and_its_count(wire: Wire) -> None:
    # Given a dead front, and two live ones, one of whose names begins with that of the dead one
    for living in ("front-2", "front-11"):
        await wire.renew(living)
        await wire.end(Count(1), front=living)
        await wire.register(f"guest-of-{living}", front=living)
    await dying_front(wire)
    assert await counts(wire) == 2
    # When two workers sweep it
    for worker in (wire.worker, wire.new_worker("worker-2")):
        await worker.presence.reap(CHANNEL, "front-1")
    # Then all its nicknames have left, the count is that of the live fronts, and theirs are unchanged
    told = await wire.news()
    assert sorted(shown(told)[:-1]) == [("exiter", f"guest-{number}") for number in range(3)]
    assert shown(told)[-1] == ("nb_users", 2)
    assert all(one.is_broadcast and one.source is None for one in told)
    await assert_presence_is_right(wire, {"guest-of-front-2": "front-2/1", "guest-of-front-11": "front-11/1"})
    assert await wire.worker.presence.expired_fronts(CHANNEL) == []


@pytest.mark.parametrize("has_resigned", [True, False])
async def test_a_front_that_is_not_dead_is_not_swept(wire: Wire, has_resigned: bool) -> None:
    await dying_front(wire, people=0 if has_resigned else 3)
    if has_resigned:
        await wire.front.presence.release_lease(CHANNEL)
    else:
        await wire.renew()  # it was slow, not dead
    before = await everything(wire)
    await wire.worker.presence.reap(CHANNEL, "front-1")
    assert await everything(wire) == before


async def test_nicknames_of_a_swept_front_that_returns_are_announced_again(wire: Wire) -> None:
    # Given a front that was frozen until it was swept
    await dying_front(wire, people=1)
    await wire.worker.presence.reap(CHANNEL, "front-1")
    await wire.news()
    # When it returns and restores its nickname
    assert not (await wire.renew()).was_known
    job = await wire.end(Restore("guest-0"), connection=0)
    # Then the channel, which has received an `exiter`, receives a `newcomer`
    (told,) = await wire.news()
    assert (told.source, told.is_broadcast) == (job.source, True)
    assert shown([told]) == [("newcomer", "guest-0")]
    await assert_presence_is_right(wire, {"guest-0": "front-1/0"})
