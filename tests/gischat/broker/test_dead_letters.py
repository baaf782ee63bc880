"""Dead letters: jobs that could not be processed."""

import msgspec
import pytest

from gischat.broker import scripts
from gischat.broker.dead_letters import DeadLetters
from gischat.broker.entries import Outcome
from gischat.protocol.messages import new_id
from gischat.protocol.parsing import MessageParser
from gischat.timings import Timings
from tests.gischat.broker.wire import (
    ALIVE,
    CHANNEL,
    Start,
    Wire,
    assert_meters_are_right,
    decoded,
    encoded,
    letters,
)
from tests.support.contract import sample
from worker.effects import (
    DeadLetter,
    Publish,
)

pytestmark = pytest.mark.usefixtures("io_loop")


async def test_a_dead_letter_contains_the_whole_job_and_its_sender_is_told(wire: Wire) -> None:
    id, body = new_id(), encoded("image")
    job = await wire.end(DeadLetter("It crashed three times."), body, type="image", id=id)
    assert await letters(wire) == [
        {
            b"source": str(job.source).encode(),
            b"type": b"image",
            b"id": id.encode(),
            b"body": body,
            b"reason": b"It crashed three times.",
        }
    ]
    (told,) = await wire.outbox()
    assert (told.outcome, told.source) == (Outcome.DEAD_LETTERED, job.source)
    assert decoded([told])[0]["type"] == "uncompliant"
    assert "crashed" not in decoded([told])[0]["reason"]
    assert await wire.history() == []


@pytest.mark.parametrize(
    ("name", "bound", "kept"), [("DEAD_LETTERS", 2, [b"3", b"44"]), ("DEAD_BYTES", 4, [b"3", b"44"])]
)
async def test_dead_letters_are_bounded(
    start: Start, monkeypatch: pytest.MonkeyPatch, name: str, bound: int, kept: list[bytes]
) -> None:
    monkeypatch.setattr(scripts, name, bound)
    wire = start()
    for body in (b"1", b"22", b"3", b"44"):
        await wire.end(DeadLetter("It crashed."), body)
    assert [letter[b"body"] for letter in await letters(wire)] == kept
    await assert_meters_are_right(wire)


async def test_the_newest_dead_letter_is_kept_whatever_its_size(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "DEAD_BYTES", 10)
    wire = start()
    for body in (b"1", b"x" * 1000):
        await wire.end(DeadLetter("It crashed."), body)
    assert [len(letter[b"body"]) for letter in await letters(wire)] == [1000]


async def test_a_sum_of_their_bytes_that_is_far_too_high_is_corrected(wire: Wire) -> None:
    """As after the counters were restored from an old copy."""
    await wire.end(DeadLetter("It crashed."))
    await wire.redis.call("HSET", wire.key("counters"), "dead_bytes", 10**12, key=wire.key("counters"))
    for _ in range(3):
        await wire.end(DeadLetter("It crashed."))
    assert len(await letters(wire)) == 3  # the first was dropped
    await assert_meters_are_right(wire)


async def test_old_dead_letters_are_removed(start: Start) -> None:
    wire = start(timings=Timings(dead_letters=0))
    for body in (b"1", b"2"):
        await wire.end(DeadLetter("It crashed."), body)
        await wire.let_a_moment_pass()
    assert [letter[b"body"] for letter in await letters(wire)] == [b"2"]


async def test_a_dead_letter_can_be_retried(wire: Wire) -> None:
    job = await wire.end(DeadLetter("It crashed."), b'"again"', id=new_id())
    dead_letters = DeadLetters(wire.namespace, wire.redis)
    (letter,) = await dead_letters.all()
    assert await dead_letters.retry(letter)
    assert not await dead_letters.retry(letter)
    (held,) = await wire.worker.inbox.read([CHANNEL], count=10)
    assert held.job == job
    assert await letters(wire) == []
    await assert_meters_are_right(wire)


async def test_a_retried_dead_letter_is_published_although_its_author_has_reconnected(start: Start) -> None:
    wire = start(require_registration=True)
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    message = MessageParser(wire.settings).parse(msgspec.json.encode(sample("text", author="jane")))
    await wire.end(DeadLetter("It crashed."), message.body, id=message.id, connection=1)
    await wire.register("jane", connection=2)
    await wire.news()
    dead_letters = DeadLetters(wire.namespace, wire.redis)
    (letter,) = await dead_letters.all()
    assert await dead_letters.retry(letter)
    (held,) = await wire.worker.inbox.read([CHANNEL], count=10)
    await wire.worker.committer.commit(held, Publish(message.body))
    assert [one.outcome for one in await wire.news()] == [Outcome.PUBLISHED]


async def test_a_dead_letter_can_be_dropped(wire: Wire) -> None:
    for body in (b"1", b"2"):
        await wire.end(DeadLetter("It crashed."), body)
    dead_letters = DeadLetters(wire.namespace, wire.redis)
    (letter, _) = await dead_letters.all()
    assert await dead_letters.delete(letter)
    assert not await dead_letters.delete(letter)
    assert [letter[b"body"] for letter in await letters(wire)] == [b"2"]
    await assert_meters_are_right(wire)
