"""Live positions through real fronts: sent to subscribers on all fronts, and ended with the connection."""

import time
from typing import Any

import pytest

from tests.support.contract import Message
from tests.support.rest import Rest
from tests.wire.conftest import Join

ASKED = "?types=live_position,of_tomorrow"
A_QUARTER = 900


def position(author: str = "jane", x: float = 2.35, seconds: float = A_QUARTER) -> dict[str, Any]:
    until = int(time.time() + seconds)
    return {"type": "live_position", "author": author, "x": x, "y": 48.85, "accuracy": 7.5, "until": until}


def ended(message: Message) -> bool:
    return bool(message["until"] <= message["timestamp"])


async def test_a_live_position_reaches_the_subscribers_on_all_fronts_only(join: Join, channel: str, rest: Rest) -> None:
    jane = await join(channel, nickname="jane")
    here, there = await join(channel, query=ASKED), await join(channel, front=1, query=ASKED)
    await jane.send(**position())
    for one in (here, there):
        seen = await one.until(type="live_position", author="jane")
        assert (seen["x"], seen["y"], seen["accuracy"]) == (2.35, 48.85, 7.5)
        assert 0 < seen["until"] - seen["timestamp"] <= A_QUARTER
    # It is not stored, nor was it sent to a client that is not subscribed before the following message
    text = await jane.say()
    await jane.until(type="text", text=text)
    assert [message["type"] for message in await rest.last(channel)] == ["text"]
    assert not [message for message in jane.received if message["type"] == "live_position"]


async def test_a_new_subscriber_gets_current_positions_until_they_end(join: Join, channel: str) -> None:
    jane, first = await join(channel, nickname="jane"), await join(channel, front=1, query=ASKED)
    await jane.send(**position(x=1))
    await first.until(type="live_position", x=1)
    later = await join(channel, front=1, query=ASKED)
    assert not ended(await later.until(type="live_position", x=1))
    await jane.leave()
    for one in (first, later):
        assert ended(await one.until(type="live_position", x=1))


async def test_its_sender_ends_it(join: Join, channel: str) -> None:
    jane = await join(channel, nickname="jane", query=ASKED)
    await jane.send(**position())
    assert not ended(await jane.until(type="live_position"))
    await jane.send(**position(seconds=-5))
    assert ended(await jane.until(type="live_position"))
    await jane.send(**position(x=3))
    assert not ended(await jane.until(type="live_position", x=3))
    await jane.send(type="exiter", exiter="jane")
    assert ended(await jane.until(type="live_position", x=3))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"author": "john"}, "Register your nickname first: a live position is shared under it alone."),
        ({"seconds": 9 * 3600}, "A live position can be shared for at most 8 hours at a time: share it for less."),
        ({"x": 652000.0}, "The position's x must lie between -180 and 180: it is a longitude in WGS 84."),
    ],
)
async def test_invalid_live_positions_are_refused_with_a_reason(
    join: Join, channel: str, changes: dict[str, Any], reason: str
) -> None:
    jane = await join(channel, nickname="jane", query=ASKED)
    await jane.send(**position(**changes))
    await jane.until(type="uncompliant", reason=reason)
    await jane.send(**position())
    assert (await jane.until(type="live_position"))["author"] == "jane"
