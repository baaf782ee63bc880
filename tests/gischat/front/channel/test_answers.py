"""The HTTP answers about a channel."""

import asyncio
from types import SimpleNamespace
from typing import Any

from gischat.front.channel.answers import ChannelAnswers
from gischat.timings import Timings
from tests.support.virtual_time import virtual_time


@virtual_time
async def test_who_ask_for_a_message_together_share_it_in_memory() -> None:
    asked = list[str]()

    async def message(channel: str, id: str) -> bytes | None:
        asked.append(id)
        await asyncio.sleep(0.01)
        return None if id == "gone" else f"{id} in {channel}".encode()

    broker: Any = SimpleNamespace(history=SimpleNamespace(message=message))
    stored: Any = None
    answers = ChannelAnswers("QGIS", broker, stored, None, Timings())
    found = await asyncio.gather(*(answers.message("layer") for _ in range(100)), answers.message("gone"))
    bodies = [one.body for one in found if one]
    assert (len(bodies), bodies[0], found[-1]) == (100, b"layer in QGIS", None)
    assert len({id(body) for body in bodies}) == 1
    # It is not kept: the next one reads it anew, since a moderator may have deleted it
    del found, bodies
    await answers.message("layer")
    assert asked == ["layer", "gone", "layer"]
