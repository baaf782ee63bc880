"""Lists of connections, and disconnections."""

import time
from typing import Any
from urllib.parse import quote

from tests.moderation.conftest import Join
from tests.support.admin import Admin, acts, below
from tests.support.processes import Stack


async def test_the_connections_of_all_fronts_are_listed(channel: str, join: Join, admin: Admin, other: Admin) -> None:
    # Given clients on both fronts, one of them without a nickname
    begun = int(time.time())
    await join(channel, nickname="jane")
    await join(channel, front=1, nickname="john", local_addr=("127.0.0.3", 0))
    await join(channel, front=1, settled=True)
    # When moderators query either front, for the channel or for all
    answers = [await one.act("GET", f"connections?channel={quote(channel)}") for one in (admin, other)]
    answers.append(await admin.act("GET", "connections"))
    # Then the answer contains all of them
    for answer in answers:
        here = [one for one in answer["connections"] if one["channel"] == channel]
        shown = {(one["nickname"], one["address"]) for one in here}
        assert shown == {("jane", "127.0.0.1"), ("john", "127.0.0.3"), (None, "127.0.0.1")}
        assert len({(one["front"], one["number"]) for one in here}) == 3
        assert all(begun <= one["since"] <= time.time() for one in here)
        front_of = {one["nickname"]: one["front"] for one in here}
        assert front_of["jane"] != front_of["john"] == front_of[None]
        assert {one["front"] for one in answer["fronts"]} >= set(front_of.values())
        assert answer["missing"] == []


async def test_a_nickname_is_disconnected(stack: Stack, channel: str, join: Join, admin: Admin, other: Admin) -> None:
    john = await join(channel, front=1, nickname="john")
    for front in (0, 1):
        jane = await join(channel, front=front, nickname="jane")
        answer = await admin.act("DELETE", below(channel, "users/Jane?reason=No%20advertising."))
        assert answer == {"disconnected": [channel]}
        told = "Disconnected by a moderator. No advertising. To come back, disconnect and connect again."
        assert await jane.refusal() == told
        assert await jane.closed() == (1008, "Disconnected by a moderator. No advertising.")
        await john.until(type="exiter", exiter="jane")
        await john.count(1)
        await john.until(text=await john.say())
    # She may reconnect, because she is not banned; a close reason fits its frame
    jane = await join(channel, nickname="jane")
    await other.act("DELETE", below(channel, "users/jane?reason=" + "%C3%A9" * 200))
    code, reason = await jane.closed()
    assert code == 1008
    assert str(reason).startswith("Disconnected by a moderator. éé")
    # It is logged with its moderator and subject
    (logged,) = acts(stack.fronts[1])
    assert (logged["act"], logged["moderator"], logged["nickname"]) == ("disconnect", "otto", "jane")
    # Nobody else is found
    for path in (below(channel, "users/joan"), "users/nobody"):
        status, refused = await admin.refused("DELETE", path)
        assert (status, refused.startswith("Nobody is registered as")) == (404, True)


async def test_a_nickname_is_disconnected_everywhere(
    channel: str, fresh_channels: Any, join: Join, admin: Admin
) -> None:
    others = [channel, next(fresh_channels)]
    here = [await join(one, front=front, nickname="pest") for front, one in enumerate(others)]
    stays = await join(channel, nickname="friend")
    answer = await admin.act("DELETE", "users/pest")
    assert set(answer["disconnected"]) == set(others)
    for client in here:
        assert await client.closed() == (1008, "Disconnected by a moderator.")
    await stays.until(text=await stays.say())
