"""Places in Redis: stored, bounded and deleted with their messages."""

from typing import Any

import msgspec
import pytest

from gischat.protocol.messages import new_id
from gischat.protocol.places import decode
from tests.gischat.broker.wire import CHANNEL, Start, Wire, encoded
from worker.effects import Publish

pytestmark = pytest.mark.usefixtures("io_loop")


def place_of(id: str, size: int = 0) -> bytes:
    return msgspec.json.encode(["position", 1_700_000_000, [[None, {"id": id, "filled": "x" * size}]]])


async def share(wire: Wire, *, size: int = 0, id: str = "", author: str = "jane", connection: int = 1) -> str:
    """Publish and store a position with its place; returns its id."""
    body = encoded("position", id=(id := id or new_id()), author=author)
    await wire.end(Publish(body, place=place_of(id, size)), body, type="position", id=id, connection=connection)
    return id


async def places(wire: Wire) -> list[str]:
    """The ids of stored places, oldest first, as a front reads them; what is counted is what is stored."""
    stored, held = await wire.history(), await wire.hash("places")
    assert await wire.meter("history_bytes") == sum(map(len, [*stored, *held.values()]))
    assert await wire.meter("places") == len(held)
    found = [decode(place).features for place in await wire.front.history.places(CHANNEL)]
    return [msgspec.json.decode(feature)["id"] for features in found for _, feature in features]


async def message(wire: Wire, id: str) -> Any:
    found = await wire.front.history.message(CHANNEL, id)
    return found and msgspec.json.decode(found)["id"]


async def test_a_place_lives_as_long_as_its_message(start: Start) -> None:
    wire = start(max_stored_messages=3)
    first, second = await share(wire), await share(wire)
    assert await places(wire) == [first, second]
    assert await wire.front.history.place(CHANNEL, first) == place_of(first)
    # When messages without a place follow
    for number in (2, 1):
        await wire.end(Publish(encoded("text")))
        assert len(await places(wire)) == number
    assert await places(wire) == [second]
    assert await wire.front.history.place(CHANNEL, first) is None


async def test_places_count_towards_the_limit_of_stored_bytes(start: Start) -> None:
    wire = start(max_stored_messages=100, max_stored_bytes=10_000)
    shared = [await share(wire, size=4000) for _ in range(5)]
    assert await places(wire) == shared[-2:]
    assert await wire.meter("history_bytes") <= 10_000
    # The newest stays, whatever its size
    large = await share(wire, size=20_000)
    assert await places(wire) == [large]


async def test_a_place_is_deleted_with_its_message(wire: Wire) -> None:
    first, second, third = [await share(wire) for _ in range(3)]
    assert await wire.front.moderation.delete_messages(CHANNEL, [second]) == 1
    assert await places(wire) == [first, third]
    assert await wire.front.moderation.delete_messages(CHANNEL, []) == 2
    assert await places(wire) == []


async def test_a_place_has_the_id_of_its_published_message(wire: Wire) -> None:
    # Given a sender that uses another's id
    id = await share(wire)
    await share(wire, id=id, author="mallory", connection=2)
    mine, other = await places(wire)
    assert (mine, other != id, await message(wire, other)) == (id, True, other)
    assert set(await wire.hash("places")) == {id, other}


@pytest.mark.parametrize("name", ["places", "history", "counters"])
async def test_bytes_are_counted_again_after_a_loss(start: Start, name: str) -> None:
    wire = start(max_stored_messages=4)
    for _ in range(3):
        await share(wire)
    await wire.delete(wire.key(name))
    for _ in range(5):
        newest = await share(wire)
        assert (await places(wire))[-1] == newest


async def test_a_stored_message_is_found_by_its_id(start: Start) -> None:
    wire = start(max_stored_messages=50)
    ids = [await share(wire) for _ in range(40)]
    for id in (ids[0], ids[17], ids[-1]):
        assert await message(wire, id) == id
    assert await message(wire, new_id()) is None
