"""The outbox: its offsets and limits."""

from typing import Any

import pytest

from gischat.timings import Timings
from tests.gischat.broker.wire import ALIVE, CHANNEL, Start, Wire, assert_meters_are_right
from worker.effects import Acknowledge, Count, DeadLetter, Leave, Publish, Refuse

pytestmark = pytest.mark.usefixtures("io_loop")


async def test_publications_are_numbered_without_gaps(wire: Wire) -> None:
    for effect in (Publish(b"{}"), Refuse("No."), Acknowledge(), DeadLetter("It crashed."), Leave(), Count(1)):
        await wire.end(effect)
    assert [one.offset for one in await wire.outbox()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("limits", "kept"), [({"messages": 3}, 3), ({"age": 0}, 1), ({"age": 60}, 5), ({"bytes": 1}, 1)], ids=str
)
async def test_the_outbox_is_bounded_and_the_newest_always_stays(
    start: Start, limits: dict[str, Any], kept: int
) -> None:
    wire = start(**{f"max_outbox_{name}": limit for name, limit in limits.items()})
    for number in range(5):
        await wire.end(Publish(b"%d0" % number))
        await wire.let_a_moment_pass()
    assert [one.body for one in await wire.outbox()] == [b"00", b"10", b"20", b"30", b"40"][-kept:]
    await assert_meters_are_right(wire)


async def test_the_outbox_is_bounded_in_bytes(start: Start) -> None:
    wire = start(max_outbox_bytes=1000)
    for size in (400, 400, 200, 300, 5000, 10, 900):
        await wire.end(Publish(b"x" * size))
        await assert_meters_are_right(wire)
        sizes = [len(one.body) for one in await wire.outbox()]
        assert sizes[-1] == size
        assert sum(sizes) <= 1000 or len(sizes) == 1
    assert sizes == [10, 900]


async def test_a_new_front_learns_how_long_ago_redis_lost_data(wire: Wire) -> None:
    assert (await wire.front.outbox.tail(CHANNEL, 1)).intact > Timings().settling
    await wire.front.presence.renew_lease(CHANNEL, ALIVE, is_state_lost=True)
    assert (await wire.front.outbox.tail(CHANNEL, 1)).intact < Timings().settling
