"""Dead letters: jobs that could not be processed."""

import pytest

from gischat.broker import scripts
from gischat.broker.dead_letters import DeadLetters
from gischat.broker.entries import Outcome
from gischat.protocol.messages import new_id
from gischat.timings import Timings
from tests.gischat.broker.wire import CHANNEL, Start, Wire, assert_meters_are_right, encoded, letters, shown
from worker.effects import DeadLetter, Publish

pytestmark = pytest.mark.usefixtures("io_loop")

CRASHED = DeadLetter("It crashed.")


async def bury(wire: Wire, *bodies: bytes) -> None:
    for body in bodies:
        await wire.end(CRASHED, body)
        await wire.let_a_moment_pass()


async def test_a_dead_letter_contains_the_whole_job_and_its_sender_is_told(wire: Wire) -> None:
    id, body = new_id(), encoded("image")
    job = await wire.end(CRASHED, body, type="image", id=id)
    fields = {b"source": str(job.source).encode(), b"type": b"image", b"id": id.encode(), b"body": body}
    assert await letters(wire) == [fields | {b"reason": b"It crashed."}]
    (told,) = await wire.outbox()
    assert (told.outcome, told.source) == (Outcome.DEAD_LETTERED, job.source)
    type_, reason = shown(told)
    assert (type_, "crashed" in reason) == ("uncompliant", False)
    assert await wire.history() == []


@pytest.mark.parametrize(
    ("name", "bound", "bodies", "kept"),
    [
        ("DEAD_LETTERS", 2, [b"1", b"22", b"3", b"44"], 2),
        ("DEAD_BYTES", 4, [b"1", b"22", b"3", b"44"], 2),
        ("DEAD_BYTES", 10, [b"1", b"x" * 1000], 1),  # the newest, whatever its size
    ],
)
async def test_dead_letters_are_bounded_and_the_newest_is_kept(
    start: Start, monkeypatch: pytest.MonkeyPatch, name: str, bound: int, bodies: list[bytes], kept: int
) -> None:
    monkeypatch.setattr(scripts, name, bound)
    wire = start()
    await bury(wire, *bodies)
    assert [letter[b"body"] for letter in await letters(wire)] == bodies[-kept:]
    await assert_meters_are_right(wire)


async def test_old_dead_letters_are_removed(start: Start) -> None:
    wire = start(timings=Timings(dead_letters=0))
    await bury(wire, b"1", b"2")
    assert [letter[b"body"] for letter in await letters(wire)] == [b"2"]


async def test_a_sum_of_their_bytes_that_is_far_too_high_is_corrected(wire: Wire) -> None:
    """As after the counters were restored from an old copy."""
    await bury(wire, b"1")
    await wire.redis.call("HSET", wire.key("counters"), "dead_bytes", 10**12, key=wire.key("counters"))
    await bury(wire, b"2", b"3", b"4")
    assert [letter[b"body"] for letter in await letters(wire)] == [b"2", b"3", b"4"]  # the first was dropped
    await assert_meters_are_right(wire)


async def test_a_dead_letter_can_be_deleted_or_retried_once(wire: Wire) -> None:
    await bury(wire, b"1")
    job = await wire.end(CRASHED, b'"again"', id=new_id())
    dead_letters = DeadLetters(wire.namespace, wire.redis)
    first, second = await dead_letters.all()
    assert [await dead_letters.delete(first), await dead_letters.delete(first)] == [True, False]
    assert [await dead_letters.retry(second), await dead_letters.retry(second)] == [True, False]
    (held,) = await wire.worker.inbox.read([CHANNEL], count=10)
    assert held.job == job
    assert await letters(wire) == []
    await assert_meters_are_right(wire)


async def test_a_retried_dead_letter_is_published_although_its_author_has_reconnected(start: Start) -> None:
    wire = start(require_registration=True)
    await wire.renew()
    body = encoded("text", author="jane")
    await wire.end(CRASHED, body, id=new_id(), connection=1)
    await wire.register("jane", connection=2)
    dead_letters = DeadLetters(wire.namespace, wire.redis)
    assert await dead_letters.retry((await dead_letters.all())[0])
    (held,) = await wire.worker.inbox.read([CHANNEL], count=10)
    await wire.worker.committer.commit(held, Publish(body))
    assert (await wire.last()).outcome is Outcome.PUBLISHED
