"""Large bodies of publications: in chunks, to which outbox and history refer, and which live as long."""

import random
from dataclasses import replace
from typing import Any

import pytest

from gischat.broker.bodies import Bodies, Limits, Reference, is_reference
from gischat.broker.entries import Outcome, Publication
from gischat.broker.inbox_consumer import Delivery
from gischat.protocol.messages import Lane, new_id
from tests.gischat.broker.wire import ALIVE, CHANNEL, Start, Wire
from worker.effects import Publish

pytestmark = pytest.mark.usefixtures("io_loop")

SMALL = Limits(inline=300, chunk=1000)
LAYER = "x" * 2500  # in three chunks


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bodies, "limits", SMALL)


def layer(id: str = "", content: str = LAYER) -> bytes:
    return b'{"type":"text","id":"%s","text":"%s"}' % ((id or new_id()).encode(), content.encode())


async def hold(wire: Wire, body: bytes, **job: Any) -> Delivery:
    return await wire.hold(wire.job(body, **job), Lane.HEAVY)


async def publish(wire: Wire, body: bytes, **job: Any) -> Publication:
    """The entry of a layer in the outbox."""
    assert await wire.worker.committer.commit_large(await hold(wire, body, **job), Publish(body))
    return await wire.last()


async def chunks(wire: Wire) -> dict[bytes, int]:
    return await wire.keys_with(":body:")


async def test_a_large_body_is_whole_for_all_who_read_it(wire: Wire) -> None:
    body = layer(id := new_id())
    published = await publish(wire, body, id=id)
    assert is_reference(published.body)
    assert len(published.body) < SMALL.inline + 100
    assert list((await chunks(wire)).values()) == [-1, -1, -1]
    front = wire.front
    assert await wire.history() == [body]
    assert await front.history.message(CHANNEL, id) == body
    assert [one.publication.body for one in await front.history.retained(CHANNEL, 99, 10**6)] == [body]
    assert [one.publication.body for one in await front.outbox.entries_after(CHANNEL, b"0-0", 9)] == [body]
    size = len(published.body) + Reference.parse(published.body).size
    assert await wire.meter("outbox_bytes") == await wire.meter("history_bytes") == size


@pytest.mark.parametrize("rest", [45, 1000, 1001])
async def test_a_body_comes_out_as_it_went_in(wire: Wire, rest: int) -> None:
    body = bytes(number % 251 for number in range(SMALL.head + rest))
    reference = await wire.worker.committer.bodies.write(CHANNEL, "1-0", body)
    assert await wire.front.bodies.read(CHANNEL, reference) == body
    assert Reference.parse(reference).encode() == reference
    assert len(await chunks(wire)) == -(-rest // SMALL.chunk)


async def test_chunks_live_as_long_as_history_or_outbox_have_their_body(start: Start) -> None:
    wire = start(max_stored_messages=1, max_outbox_messages=3)
    age = wire.settings.max_outbox_age * 1000
    # When the history has another message, the outbox alone has the layer
    await publish(wire, layer())
    await publish(wire, layer(content="1"))
    assert all(age - 60_000 < expires <= age for expires in (await chunks(wire)).values())
    # When the outbox has removed it, nobody
    for text in "23":
        await publish(wire, layer(content=text))
    assert not await chunks(wire)
    # When the outbox has removed what the history has, it stays; then the history removes it
    await publish(wire, body := layer())
    for _ in range(3):
        await wire.front.presence.renew_lease(CHANNEL, ALIVE, is_state_lost=True)
    assert not any(is_reference(one.body) for one in await wire.outbox())
    assert await wire.history() == [body]
    await publish(wire, layer(content="4"))
    assert not await chunks(wire)


async def test_what_is_not_published_leaves_no_chunks(wire: Wire) -> None:
    id = new_id()
    first = await publish(wire, layer(id), id=id)
    before = await chunks(wire)
    # When it is sent again, its sender gets the first one; when another is sent under its id, a refusal
    again = await publish(wire, layer(id), id=id)
    assert (again.outcome, again.body) == (Outcome.DUPLICATE, first.body)
    assert (await publish(wire, layer(id, LAYER + "y"), id=id)).outcome is Outcome.REFUSED
    assert await chunks(wire) == before
    # … unless another sends it: then its own id is in the whole body
    second = await publish(wire, layer(id, LAYER + "y"), id=id, connection=2)
    assert second.id != id.encode()
    assert await wire.history() == [layer(id), layer(second.id.decode(), LAYER + "y")]


async def test_another_attempt_at_a_job_changes_nothing(wire: Wire) -> None:
    """A worker that was frozen goes on when another has ended its job."""
    held, committer = await hold(wire, body := layer()), wire.worker.committer
    assert await committer.commit_large(held, Publish(body))
    before = await chunks(wire)
    assert not await committer.commit_large(held, Publish(body))
    assert await chunks(wire) == before
    assert not await committer.commit_large(held, Publish(layer()))
    assert await wire.history() == [body]


@pytest.mark.parametrize("reason", ["an older front", "expired chunks"])
async def test_a_body_is_inline_where_it_cannot_be_referred_to(wire: Wire, reason: str) -> None:
    held, committer = await hold(wire, body := layer()), wire.worker.committer
    if reason == "an older front":
        await wire.redis.call("ZADD", wire.keys.fronts, await wire.time() + 60_000, "old", key=wire.keys.fronts)
    else:
        write = committer.bodies.write

        async def late(*of: Any) -> bytes:
            reference = await write(*of)
            await wire.delete(next(iter(await chunks(wire))).decode())
            return reference

        committer.bodies.write = late  # type: ignore[method-assign]
    assert await committer.commit_large(held, Publish(body))
    assert (await wire.last()).body == body
    assert all(0 < expires <= 60_000 for expires in (await chunks(wire)).values())


async def test_a_missing_body_is_empty(wire: Wire) -> None:
    published = await publish(wire, layer())
    await wire.delete(random.choice([*await chunks(wire)]).decode())
    assert await wire.front.bodies.complete(CHANNEL, published) == replace(published, body=b"")
    assert await wire.history() == []
    assert [one.publication.is_lost for one in await wire.front.outbox.entries_after(CHANNEL, b"0-0", 9)] == [True]


FORGED = [b"@name 999999999 1 {", b"@name 1 9999999999999999999 {", b"@name -5 0 {", b"@\xff 1 1 {", b"@name 1", b"@"]


@pytest.mark.parametrize("forged", FORGED)
async def test_a_forged_reference_is_missing_at_once_and_ends_with_its_message(start: Start, forged: bytes) -> None:
    wire = start(max_stored_messages=2)
    history = wire.key("history")
    await publish(wire, layer(content="1"))
    await wire.redis.call("RPUSH", history, forged, key=history)
    assert await wire.front.bodies.read(CHANNEL, forged) is None
    # When messages take its place, and their bytes are counted anew
    await wire.redis.call("HDEL", wire.key("counters"), "history_bytes", key=history)
    texts = [layer(content=text) for text in "234"]
    for text in texts:
        await publish(wire, text)
    assert await wire.history() == texts[1:]
    assert await wire.meter("history_bytes") == 2 * len(texts[0])
