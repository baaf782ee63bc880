"""Registered nicknames, and wishes for taken ones: a nickname that becomes free goes to the oldest wish at once."""

import msgspec
import pytest

from gischat.broker.entries import Outcome
from gischat.protocol.messages import new_id
from tests.gischat.broker.stories import play, told
from tests.gischat.broker.wire import CHANNEL, Start, Wire, encoded, shown
from worker.effects import Exit, Like, Publish

pytestmark = pytest.mark.usefixtures("io_loop")

NICKNAMES = """
# a nickname has one holder, whom the next one challenges
a1 wants jane *: newcomer jane
a1 wants jane *: duplicate
a1 wants jane: done
b1 wants jane: challenge, refused
= jane a1

# an exiter is for one's own nickname or, from a connection without one, for a free one
given a1 jane, a2 joan
a1 gives up joan: refused
a2 gives up jane: refused
a3 gives up jane: refused
a1 gives up john: refused
a3 gives up john: exiter john
a1 gives up jane *: exiter jane
a1 gives up jane *: duplicate
= joan a2

# a lost nickname is restored once, without a newcomer, and not for a connection that has ended
a1 restores jane *: restored jane
a1 restores jane: done
a1 leaves: exiter jane
a1 restores jane *: duplicate
=

# a connection has one nickname although its front restores an older one after a flush
a1 wants joan: newcomer joan
a1 restores jane: done
= joan a1
a11 leaves: done
a1 leaves: exiter joan
=

# an id is used for one newcomer, unless another sender uses it
a1 wants jane *: newcomer jane
a1 leaves: exiter jane
a1 wants joan *: refused
b1 wants joan *: newcomer joan
= joan b1

# names that differ only in case are the same, and shown as their holders spell them
a1 wants Jane: newcomer Jane
a1 wants jane: done
b1 wants JANE: challenge, refused
= Jane a1
a1 gives up jANE: exiter Jane, newcomer JANE to b1
= JANE b1

# jobs of a front that was swept have no effect, and its clients are told
c1 wants jane: refused
c1 restores jane: done
c counts 9: nb_users 0
=

# jobs of a front whose lease has expired take effect until it is swept, as after an outage of Redis
a expires: nothing
a counts 2: nb_users 0
a1 wants jane: newcomer jane
a2 restores joan: restored joan
a lives: nothing
b counts 1: nb_users 3
= jane a1, joan a2
a expires: nothing
a is reaped: exiter jane, exiter joan, nb_users 1
=
"""

WISHES = """
# a nickname that becomes free when its holder leaves goes to the oldest wish, whoever repeats one
given a1 jane, a2 jane, b3 jane, a2 jane
a1 leaves: exiter jane, newcomer jane to a2
a2 leaves: exiter jane, newcomer jane to b3
b3 leaves: exiter jane
=

# … when its holder gives it up, or takes another
given a1 jane, a2 jane, b3 jane
a1 gives up jane: exiter jane, newcomer jane to a2
a2 wants joan: exiter jane, newcomer joan, newcomer jane to b3
= joan a2, jane b3

# … or when its front is dead
given a1 jane, b3 jane
a expires: nothing
a is reaped: exiter jane, newcomer jane to b3

# a granted nickname frees the former one for the next wish, and nobody has two
given a1 jane, a2 joan, a3 john, a2 jane, a3 joan
a1 leaves: exiter jane, exiter joan, newcomer jane to a2, exiter john, newcomer joan to a3
= jane a2, joan a3

# a wish ends when its connection takes another nickname, …
given a1 jane, a2 jane, b3 jane
a2 wants joan: newcomer joan
a1 leaves: exiter jane, newcomer jane to b3

# … wants another that is taken, …
given a1 jane, a2 jane, b3 jane, a4 john, a2 john
a1 leaves: exiter jane, newcomer jane to b3

# … gives it up, …
given a1 jane, a2 jane, b3 jane
a2 gives up jane: refused
a1 leaves: exiter jane, newcomer jane to b3

# … or leaves, or when its front is dead, …
given a1 jane, a2 jane, b3 jane
a2 leaves: done
b expires: nothing
a1 leaves: exiter jane
=

# … of which nothing is left when it is swept
given a1 jane, b3 jane
b expires: nothing
b is reaped: nothing
b lives: nothing
a1 leaves: exiter jane
=

# the former holder gets a lost nickname back when it is free
a1 wants jane: newcomer jane
b1 restores Jane: refused
= jane a1
a1 leaves: exiter jane, newcomer Jane to b1
= Jane b1
"""

LOSSES = """
# a nickname does not stay taken when the users are lost
a1 wants Jane: newcomer Jane
redis loses users: nothing
redis is repaired: nicknames
redis is repaired: nothing
a1 wants Jane: done
= Jane a1
a1 leaves: exiter Jane
=

# … or the nicknames
a1 wants Jane: newcomer Jane
redis loses nicknames: nothing
redis is repaired: nicknames
a1 wants Jane: newcomer Jane
redis is repaired: nothing
= Jane a1
a1 leaves: exiter Jane
=

# of two holders one is left, by repair
a1 wants Jane: newcomer Jane
redis loses users: nothing
a2 wants Jane: newcomer Jane
redis is repaired: nicknames
= Jane a2

# … or by the end of the earlier one's connection, which frees nothing
a1 wants Jane: newcomer Jane
redis loses users: nothing
a2 wants Jane: newcomer Jane
a1 leaves: done
= Jane a2

# a dead front whose nicknames are lost keeps none
a1 wants Jane: newcomer Jane
redis loses nicknames: nothing
a has no process: nothing
b1 wants Jane: newcomer Jane
= Jane b1

# nicknames of an unknown front are swept when nobody renews its lease
a1 wants Jane: newcomer Jane
redis loses fronts: nothing
redis is checked: nothing
a is reaped: exiter Jane
=

# fronts repeat wishes that are found to be lost
a1 wants Jane: newcomer Jane
a2 wants Jane: challenge, refused
redis loses wishers: nothing
a1 leaves: exiter Jane, nicknames
"""


@told(NICKNAMES)
async def test_a_nickname_has_one_holder(start: Start, story: str) -> None:
    await play(start(), story)


@told(WISHES)
async def test_a_wish_is_granted(start: Start, story: str) -> None:
    await play(start(), story)


@told(LOSSES)
async def test_a_key_that_is_lost_leaves_no_nickname_taken(start: Start, story: str) -> None:
    await play(start(), story)


async def test_a_refusal_says_why_and_a_challenge_whom(wire: Wire) -> None:
    await wire.register("jane")
    await wire.news()
    job = await wire.register("jane", connection=2)
    challenge, told = await wire.news()
    assert (told.outcome, told.source, told.to) == (Outcome.REFUSED, job.source, "")
    assert shown(told) == ("uncompliant", f"User 'jane' already registered in channel {CHANNEL}")
    assert msgspec.json.decode(challenge.body) == {"connection": "front-1/1", "client": ""}
    await wire.end(Exit("jane"), connection=2)
    assert shown(await wire.last()) == ("uncompliant", "You are not registered as 'jane'.")


async def test_a_granted_newcomer_has_the_id_set_by_its_sender_or_an_unpredictable_one(wire: Wire) -> None:
    """A message with a published id is not delivered: someone who could predict a grant's id could hide it."""
    ids = set()
    for is_used in (False, True, True):
        await wire.register("jane", connection=1)
        id = new_id()
        if is_used:
            body = encoded("text", id=id)
            await wire.end(Publish(body), body, id=id, connection=2)
        await wire.register("jane", connection=2, id=id)
        await wire.leave()
        granted = await wire.last()
        assert msgspec.json.decode(granted.body)["id"] == granted.id.decode()
        assert (granted.id.decode() == id) != is_used
        ids.add(granted.id)
        await wire.leave(connection=2)
    assert len(ids) == 3


async def test_a_nickname_is_found_in_any_case(start: Start) -> None:
    wire = start(require_registration=True)
    await wire.renew()
    await wire.register("Jane")
    # By a like, …
    like = encoded("like", liker_author="john", liked_author="jane")
    await wire.end(Like("jane"), like, type="like", id=new_id(), connection=2)
    assert (await wire.last()).to == "front-1/1"
    # … by a moderator, …
    assert await wire.front.moderation.disconnect(CHANNEL, "JANE", b"{}")
    # … by the check of authors, …
    for connection, outcome in ((2, Outcome.REFUSED), (1, Outcome.PUBLISHED)):
        body = encoded("text", author="jANE", id=(used := new_id()))
        await wire.end(Publish(body), body, id=used, connection=connection)
        assert (await wire.last()).outcome is outcome
    # … and in the note of who has used an id
    await wire.leave()
    await wire.register("jane", connection=3)
    await wire.end(Publish(b"{}"), encoded("text", id=used), id=used, connection=3)
    assert ((await wire.last()).outcome, (await wire.last()).type) == (Outcome.REFUSED, "duplicate_id")
