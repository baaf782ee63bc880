"""An id belongs to the sender that used it first. No other sender loses a message, and none is published twice."""

from dataclasses import replace
from hashlib import sha1
from typing import Any

import msgspec
import pytest

from gischat.broker.entries import Outcome, Publication
from gischat.protocol.messages import content_digest, new_id
from gischat.protocol.parsing import MessageParser
from tests.gischat.broker.stories import play, told
from tests.gischat.broker.wire import Start, Wire, encoded, shown
from tests.support.settings import settings
from worker.commit import ID_USED
from worker.effects import BodyMissing, Like, Publish

pytestmark = pytest.mark.usefixtures("io_loop")

PARSER = MessageParser(settings())


def written(type_: str = "text", **changes: Any) -> bytes:
    """A message as a front encodes it."""
    return PARSER.parse(encoded(type_, **changes)).body


async def say(wire: Wire, id: str, text: str, *, as_published: str = "", sender: str = "", **job: Any) -> Publication:
    """Send a text; returns its result."""
    held = await wire.hold(replace(wire.job(written(id=id, text=text), id=id, **job), sender=sender))
    await wire.worker.committer.commit(held, Publish(written(id=id, text=as_published or text)))
    return await wire.last()


def content(publication: Publication) -> tuple[str, str]:
    message = msgspec.json.decode(publication.body)
    return message["id"], message["text"]


IDS = """
# a message with an id of another sender is published, once, with a new id
a1 says first *: text first
a2 says second *: text second under another id
a2 says second *: duplicate second under another id
a1 says third *: refused
a1 says first *: duplicate first

# a sender is recognised by its nickname after reconnecting
given a1 jane, a2 joan
a1 says first *: text first
a2 says second *: text second under another id
a1 leaves: exiter jane
a3 wants jane: newcomer jane
a3 says third *: refused
a3 says first *: duplicate first

# a sender over HTTP is identified by more than a connection
bot says first *: text first
bot says first *: duplicate first
bot says second *: refused
other says third *: text third under another id
"""


@told(IDS)
async def test_an_id_belongs_to_the_sender_that_used_it_first(start: Start, story: str) -> None:
    await play(start(), story)


async def test_a_predicted_id_does_not_suppress_a_message(wire: Wire) -> None:
    # Given mallory, who has used an id, and predicts the new id of a bot's message
    id, bot = new_id(), "http/bot/abc"
    name = f"{bot} {id} {content_digest(written(id=id, text='the dam has broken'))}"
    digits = sha1(name.encode(), usedforsecurity=False).hexdigest()
    foretold = f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"
    for used in (id, foretold):
        await say(wire, used, "mallory's", connection=2)
    # When the bot sends the message, then it is published nevertheless
    told = await say(wire, id, "the dam has broken", sender=bot)
    assert (told.outcome, content(told)[1]) == (Outcome.PUBLISHED, "the dam has broken")
    assert told.id.decode() not in (id, foretold)


async def test_a_sender_that_reuses_an_id_for_another_message_is_told_why(wire: Wire) -> None:
    await say(wire, id := new_id(), "first")
    told = await say(wire, id, "second")
    assert (told.outcome, shown(told)) == (Outcome.REFUSED, ("uncompliant", ID_USED))
    assert await wire.history() == [written(id=id, text="first")]


@pytest.mark.parametrize(("limits", "echo"), [((), "scaled"), ((1, 1), "scaled"), ((1, 0), "scaled again")])
async def test_the_echo_of_a_duplicate_is_the_retained_message_or_its_own(
    start: Start, limits: tuple[int, ...], echo: str
) -> None:
    # Given a published message, which may be no longer in the outbox, and in the history or not
    wire = start(**dict(zip(("max_outbox_messages", "max_stored_messages"), limits, strict=False)))
    await say(wire, id := new_id(), "photo", as_published="scaled")
    await wire.end(Publish(b"{}", stored=False))
    # When it is sent again, then its sender gets an echo, and nobody else
    again = await say(wire, id, "photo", as_published="scaled again")
    assert (again.outcome, content(again), again.is_broadcast) == (Outcome.DUPLICATE, (id, echo), False)


async def test_a_like_with_a_used_id_is_delivered_and_a_duplicate_is_not(wire: Wire) -> None:
    await wire.register("jane")
    await say(wire, id := new_id(), "first", connection=2)
    await wire.news()
    for _ in range(2):
        await wire.end(Like("jane"), written("like", id=id), type="like", id=id, connection=3)
    told, again = await wire.news()
    assert (told.outcome, told.to) == (Outcome.DONE, "front-1/1")
    assert msgspec.json.decode(told.body)["id"] == told.id.decode() != id
    assert (again.outcome, again.to, again.body) == (Outcome.DUPLICATE, "", b"")
    # … and its sender must not use the id for another
    await wire.end(Like("jane"), written("like", id=told.id.decode()), type="like", id=told.id.decode(), connection=3)
    assert await wire.outcomes() == [Outcome.REFUSED]


async def test_a_lost_body_is_refused_unless_its_sender_has_published_it(wire: Wire) -> None:
    await say(wire, id := new_id(), "first")
    for connection, outcome in ((1, Outcome.DUPLICATE), (2, Outcome.REFUSED)):
        await wire.end(BodyMissing("Lost."), b"", id=id, connection=connection)
        assert (await wire.last()).outcome is outcome


def test_the_timestamp_is_not_part_of_the_compared_content() -> None:
    id = new_id()

    def digest(**changes: Any) -> str:
        return content_digest(written(**({"id": id, "text": "hello"} | changes)))

    assert digest(timestamp=1) == digest(timestamp=1_700_000_000)
    assert len({digest(), digest(text="hallo"), digest(id=new_id()), digest(author="another")}) == 4
