"""An id belongs to the sender that used it first. No other sender loses a message, and none is published twice."""

from hashlib import sha1
from typing import Any

import msgspec
import pytest

from gischat.broker import scripts
from gischat.broker.entries import Job, Outcome, Publication
from gischat.protocol.messages import content_digest, new_id
from gischat.protocol.parsing import MessageParser
from tests.gischat.broker.wire import ALIVE, CHANNEL, Start, Wire, encoded
from tests.support.settings import settings
from worker.commit import ID_USED
from worker.effects import BodyMissing, Like, Publish

pytestmark = pytest.mark.usefixtures("io_loop")


def written(wire: Wire, type_: str, **changes: Any) -> bytes:
    """A message as a front encodes it."""
    return MessageParser(wire.settings).parse(encoded(type_, **changes)).body


async def say(wire: Wire, id: str, text: str, *, as_published: bytes | None = None, **job: Any) -> Publication:
    """Send a text; returns its result."""
    body = written(wire, "text", id=id, text=text)
    await wire.end(Publish(as_published or body), body, type="text", id=id, **job)
    return (await wire.outbox())[-1]


def content(publication: Publication) -> tuple[str, str]:
    message = msgspec.json.decode(publication.body)
    return message["id"], message["text"]


async def stored(wire: Wire) -> list[str]:
    return [msgspec.json.decode(body)["text"] for body in await wire.history()]


async def test_a_message_with_an_id_of_another_sender_is_published_with_a_new_id(wire: Wire) -> None:
    # Given a used id
    id = new_id()
    await say(wire, id, "first")
    # When another sender uses it
    told = await say(wire, id, "the dam has broken", connection=2)
    # Then that message is published and stored, too, with a new id
    assert told.outcome is Outcome.PUBLISHED
    other, text = content(told)
    assert (text, other != id, told.id.decode()) == ("the dam has broken", True, other)
    assert await stored(wire) == ["first", "the dam has broken"]


async def test_a_message_published_with_a_new_id_is_not_published_again(wire: Wire) -> None:
    id = new_id()
    await say(wire, id, "first")
    told = await say(wire, id, "second", connection=2)
    again = await say(wire, id, "second", connection=2)
    assert (again.outcome, again.body) == (Outcome.DUPLICATE, told.body)
    assert await stored(wire) == ["first", "second"]


async def test_a_predicted_id_does_not_suppress_a_message(wire: Wire) -> None:
    # Given mallory, who has used an id, and predicts the new id of a bot's message
    id, sender = new_id(), "http/bot/abc"
    body = written(wire, "text", id=id, text="the dam has broken")
    foretold = uuid5_of(f"{sender} {id} {content_digest(body)}")
    for used in (id, foretold):
        await say(wire, used, "mallory's", connection=2)
    # When the bot sends the message
    held = await wire.hold(Job(wire.job().source, "text", id, body, "192.0.2.7", sender))
    await wire.worker.committer.commit(held, Publish(body))
    # Then it is published nevertheless
    told = (await wire.outbox())[-1]
    assert (told.outcome, content(told)[1]) == (Outcome.PUBLISHED, "the dam has broken")
    assert told.id.decode() not in (id, foretold)


def uuid5_of(name: str) -> str:
    """A UUID made from a name, as in the scripts."""
    digits = sha1(name.encode(), usedforsecurity=False).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"


async def test_a_sender_that_reuses_an_id_for_another_message_is_told(wire: Wire) -> None:
    id = new_id()
    await say(wire, id, "first")
    told = await say(wire, id, "second")
    assert told.outcome is Outcome.REFUSED
    assert msgspec.json.decode(told.body)["reason"] == ID_USED
    assert await stored(wire) == ["first"]


async def test_a_sender_is_recognised_by_its_nickname_after_reconnecting(wire: Wire) -> None:
    # Given jane, who has used an id
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    id = new_id()
    await wire.register("jane", connection=1)
    await say(wire, id, "first", connection=1)
    # When another nickname uses it, that is another sender
    await wire.register("joan", connection=2)
    assert (await say(wire, id, "joan's", connection=2)).outcome is Outcome.PUBLISHED
    # When jane reconnects and uses it for another message, she is told
    await wire.end(Like("nobody"), b"{}")
    await wire.redis.call("HSET", wire.key("nicknames"), "front-1/3", "jane Jane", key=wire.key("nicknames"))
    assert (await say(wire, id, "second", connection=3)).outcome is Outcome.REFUSED
    # And for the same message, she receives the published one
    again = await say(wire, id, "first", connection=3)
    assert (again.outcome, content(again)) == (Outcome.DUPLICATE, (id, "first"))


async def test_a_sender_over_http_is_identified_by_more_than_a_connection(wire: Wire) -> None:
    async def put(text: str, id: str, sender: str, connection: int) -> Outcome:
        body = written(wire, "text", id=id, text=text)
        job = wire.job(body, id=id, connection=connection)
        held = await wire.hold(Job(job.source, "text", id, body, "192.0.2.7", sender))
        await wire.worker.committer.commit(held, Publish(body))
        return (await wire.outbox())[-1].outcome

    id = new_id()
    assert await put("first", id, "http/bot/a", 1) is Outcome.PUBLISHED
    assert await put("first", id, "http/bot/a", 2) is Outcome.DUPLICATE
    assert await put("second", id, "http/bot/a", 3) is Outcome.REFUSED
    assert await put("third", id, "http/other/b", 4) is Outcome.PUBLISHED


async def test_the_echo_of_a_duplicate_is_the_published_message(wire: Wire) -> None:
    id = new_id()
    first = await say(wire, id, "photo", as_published=written(wire, "text", id=id, text="scaled"))
    again = await say(wire, id, "photo", as_published=written(wire, "text", id=id, text="scaled a little otherwise"))
    assert (again.outcome, again.body) == (Outcome.DUPLICATE, first.body)


@pytest.mark.parametrize(("stored", "echo"), [(1, "scaled"), (0, "scaled again")])
async def test_a_duplicates_echo_is_the_retained_message_or_its_own(start: Start, stored: int, echo: str) -> None:
    # Given a message that is no longer in the outbox, and in the history or not
    wire = start(max_outbox_messages=1, max_stored_messages=stored)
    id = new_id()
    await say(wire, id, "photo", as_published=written(wire, "text", id=id, text="scaled"))
    await wire.end(Publish(b"{}", stored=False))
    # When it is sent again
    again = await say(wire, id, "photo", as_published=written(wire, "text", id=id, text="scaled again"))
    # Then its sender gets an echo nevertheless
    assert (again.outcome, content(again)) == (Outcome.DUPLICATE, (id, echo))


async def test_a_like_with_a_used_id_is_delivered(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    id = new_id()
    await say(wire, id, "first", connection=2)
    await wire.end(Like("jane"), written(wire, "like", id=id), type="like", id=id, connection=3)
    told = (await wire.outbox())[-1]
    assert (told.outcome, told.to) == (Outcome.DONE, "front-1/1")
    assert msgspec.json.decode(told.body)["id"] == told.id.decode() != id


async def test_a_lost_body_is_refused_unless_its_sender_has_published_it(wire: Wire) -> None:
    id = new_id()
    await say(wire, id, "first")
    await wire.end(BodyMissing("Lost."), b"", id=id)
    assert (await wire.outbox())[-1].outcome is Outcome.DUPLICATE
    await wire.end(BodyMissing("Lost."), b"", id=id, connection=2)
    assert (await wire.outbox())[-1].outcome is Outcome.REFUSED


async def test_the_sender_of_an_id_is_forgotten_with_the_id(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "IDS_NUMBER", 10)
    monkeypatch.setattr(scripts, "IDS_STEP", 5)
    wire = start()
    for number in range(30):
        await say(wire, new_id(), str(number))
    known = await wire.redis.call("ZRANGE", wire.keys.ids, 0, -1, key=wire.keys.ids)
    assert 10 <= len(known) < 15
    assert set(await wire.hash("senders")) == {id.decode() for id in known}


def test_the_timestamp_is_not_part_of_the_compared_content() -> None:
    id = new_id()

    def digest(**changes: Any) -> str:
        message = encoded("text", **({"id": id, "text": "hello"} | changes))
        return content_digest(MessageParser(settings()).parse(message).body)

    assert digest(timestamp=1) == digest(timestamp=1_700_000_000)
    assert digest() != digest(text="hallo")
    assert digest() != digest(id=new_id())
    assert digest() != digest(author="another")
    assert content_digest(b"") == content_digest(b"")
