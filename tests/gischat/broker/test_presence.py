"""User counts and leases, and the removal of dead fronts."""

import pytest

from gischat.broker.presence import Renewal
from tests.gischat.broker.stories import play, told
from tests.gischat.broker.wire import CHANNEL, DEAD, Start, Wire, everything
from worker.effects import Count, Publish

pytestmark = pytest.mark.usefixtures("io_loop")

FRONTS = """
# a front's connections are counted once, although it repeats a count that is no longer right
a counts 5 *: nb_users 5
a counts 6: nb_users 6
a counts 5 *: duplicate
b counts 1: nb_users 7
a counts 0: nb_users 1

# a front that resigns is not swept
a counts 2: nb_users 2
a resigns: nothing
b counts 1: nb_users 1
a is reaped: nothing

# a front that resigns although one connection's end was not processed leaves no nickname behind
a counts 1: nb_users 1
a1 wants jane: newcomer jane
a resigns: nothing
a expires: nothing
a is reaped: exiter jane, nb_users 0
=

# a dead front is swept once with its nicknames and its count, and no other with it
given b1 john, ab1 joan, a1 jane, a2 jim
b counts 1: nb_users 1
ab counts 1: nb_users 2
a counts 3: nb_users 5
a expires: nothing
b counts 1: nb_users 2
a is reaped: exiter jane, exiter jim, nb_users 2
a is reaped: nothing
= john b1, joan ab1

# nicknames of a front that was frozen until it was swept are announced again when it returns
a1 wants jane: newcomer jane
a expires: nothing
a is reaped: exiter jane
a lives: nothing
a1 restores jane: newcomer jane
= jane a1

# nicknames of a front whose process has ended are free at once
a1 wants jane: newcomer jane
a has no process: nothing
b1 wants jane: exiter jane, newcomer jane
= jane b1

# … but a newcomer does not overtake a wish for one
given a1 jane, b1 jane
a has no process: nothing
b2 wants jane: exiter jane, newcomer jane to b1, challenge, refused
b1 leaves: exiter jane, newcomer jane to b2
"""


@told(FRONTS)
async def test_a_front_counts_while_it_lives(start: Start, story: str) -> None:
    await play(start(), story)


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
    await wire.register("jane")
    assert await wire.renew() == Renewal(True, 3, connections=2, nicknames=1)
    assert await wire.front.presence.user_counts([CHANNEL]) == [2]


async def test_a_front_that_was_slow_and_not_dead_is_not_swept(wire: Wire) -> None:
    await wire.end(Count(1))
    await wire.register("jane")
    before = await everything(wire)
    assert not await wire.worker.presence.reap(CHANNEL, "front-1")
    assert await everything(wire) == before
