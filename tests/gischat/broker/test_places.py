"""Places in Redis: stored, bounded and deleted with their messages."""

from typing import Any

import msgspec
import pytest

from gischat.protocol.messages import new_id
from gischat.protocol.places import decode
from tests.gischat.broker.wire import CHANNEL, Start, Wire, encoded
from tests.support.contract import sample
from worker.effects import Publish

pytestmark = pytest.mark.usefixtures("io_loop")


def place_of(id: str, size: int = 0) -> bytes:
    return msgspec.json.encode(["position", 1_700_000_000, [[None, {"id": id, "filled": "x" * size}]]])


async def share(
    wire: Wire, *, place: bool = True, size: int = 0, id: str = "", author: str = "jane", **job: Any
) -> str:
    """Publish and store a position with its place."""
    id = id or new_id()
    head = {"type": "position", "id": id, "timestamp": 1_700_000_000}
    body = msgspec.json.encode(head | sample("position", author=author))
    await wire.end(Publish(body, place=place_of(id, size) if place else b""), body, type="position", id=id, **job)
    return id


async def places(wire: Wire) -> list[str]:
    """The ids of stored places, oldest first, as a front reads them."""
    return [
        msgspec.json.decode(feature)["id"]
        for stored in await wire.front.history.places(CHANNEL)
        for _, feature in decode(stored).features
    ]


async def is_sound(wire: Wire) -> bool:
    """Whether the counted bytes are those stored."""
    stored = sum(map(len, await wire.history()))
    held = await wire.hash("places")
    sums = (await wire.meter("history_bytes"), await wire.meter("places"))
    return sums == (stored + sum(map(len, held.values())), len(held))


async def test_a_place_lives_as_long_as_its_message(start: Start) -> None:
    wire = start(max_stored_messages=3)
    first, second = await share(wire), await share(wire)
    assert await places(wire) == [first, second]
    assert await wire.front.history.place(CHANNEL, first) == place_of(first)
    for _ in range(2):
        await wire.end(Publish(encoded("text", id=new_id())))
        assert await is_sound(wire)
    assert await places(wire) == [second]
    assert await wire.front.history.place(CHANNEL, first) is None


async def test_a_message_without_a_place_is_stored_without_one(wire: Wire) -> None:
    id = await share(wire, place=False)
    assert await places(wire) == []
    assert await wire.front.history.message(CHANNEL, id) is not None
    assert await is_sound(wire)


async def test_places_count_towards_the_limit_of_stored_bytes(start: Start) -> None:
    wire = start(max_stored_messages=100, max_stored_bytes=10_000)
    shared = [await share(wire, size=4000) for _ in range(5)]
    assert await places(wire) == shared[-2:]
    assert await wire.meter("history_bytes") <= 10_000
    # The newest stays, whatever its size
    large = await share(wire, size=20_000)
    assert await places(wire) == [large]
    assert await is_sound(wire)


async def test_a_place_is_deleted_with_its_message(wire: Wire) -> None:
    first, second, third = [await share(wire) for _ in range(3)]
    assert await wire.front.moderation.delete_messages(CHANNEL, [second]) == 1
    assert await places(wire) == [first, third]
    assert await is_sound(wire)
    assert await wire.front.moderation.delete_messages(CHANNEL, []) == 2
    assert await places(wire) == []
    assert await is_sound(wire)


async def test_a_place_has_the_id_of_its_published_message(wire: Wire) -> None:
    # Given a sender that uses another's id
    id = await share(wire, connection=1)
    await share(wire, id=id, author="mallory", connection=2)
    mine, other = await places(wire)
    assert mine == id
    assert other != id
    assert await wire.front.history.message(CHANNEL, other) is not None
    assert set(await wire.hash("places")) == {id, other}


@pytest.mark.parametrize("name", ["places", "history", "counters"])
async def test_bytes_are_counted_again_after_a_loss(start: Start, name: str) -> None:
    wire = start(max_stored_messages=4)
    for _ in range(3):
        await share(wire)
    await wire.redis.call("DEL", wire.key(name), key=wire.key(name))
    newest = await share(wire)
    assert (await places(wire))[-1] == newest
    assert await is_sound(wire)
    for _ in range(4):
        await share(wire)
    assert await is_sound(wire)


async def test_a_stored_message_is_found_by_its_id(start: Start) -> None:
    wire = start(max_stored_messages=50)
    ids = [await share(wire) for _ in range(40)]
    for id in (ids[0], ids[17], ids[-1]):
        found = await wire.front.history.message(CHANNEL, id)
        assert found is not None
        assert msgspec.json.decode(found)["id"] == id
    assert await wire.front.history.message(CHANNEL, new_id()) is None
