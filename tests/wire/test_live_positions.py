"""Live positions through real fronts: sent to subscribers on all fronts, and ended with the connection."""

import time
from typing import Any

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


async def test_a_live_position_reaches_subscribers_until_its_sender_leaves(
    join: Join, channel: str, rest: Rest
) -> None:
    jane = await join(channel, nickname="jane")
    subscribers = [await join(channel, query=ASKED), await join(channel, front=1, query=ASKED)]
    await jane.send(**position())
    for one in subscribers:
        seen = await one.until(type="live_position", author="jane")
        assert (seen["x"], seen["y"], seen["accuracy"]) == (2.35, 48.85, 7.5)
        assert 0 < seen["until"] - seen["timestamp"] <= A_QUARTER
    # It is not stored, nor was it sent to a client that is not subscribed before the following message
    await jane.until(type="text", text=await jane.say())
    assert [message["type"] for message in await rest.last(channel)] == ["text"]
    assert not [message for message in jane.received if message["type"] == "live_position"]
    # A new subscriber gets the current one
    subscribers.append(await join(channel, front=1, query=ASKED))
    assert not ended(await subscribers[-1].until(type="live_position", x=2.35))
    await jane.leave()
    for one in subscribers:
        assert ended(await one.until(type="live_position", x=2.35))


async def test_its_sender_ends_it_and_is_told_of_what_is_invalid(join: Join, channel: str) -> None:
    jane = await join(channel, nickname="jane", query=ASKED)
    await jane.send(**position())
    assert not ended(await jane.until(type="live_position"))
    await jane.send(**position(seconds=-5))
    assert ended(await jane.until(type="live_position"))
    for changes, reason in (
        ({"author": "john"}, "Register your nickname first: a live position is shared under it alone."),
        ({"seconds": 9 * 3600}, "A live position can be shared for at most 8 hours at a time: share it for less."),
        ({"x": 652000.0}, "The position's x must lie between -180 and 180: it is a longitude in WGS 84."),
    ):
        await jane.send(**position(**changes))
        await jane.until(type="uncompliant", reason=reason)
    await jane.send(**position(x=3))
    assert not ended(await jane.until(type="live_position", x=3))
    await jane.send(type="exiter", exiter="jane")
    assert ended(await jane.until(type="live_position", x=3))
