"""Bans: of addresses, networks and nicknames, for a time, on all fronts."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tornado.ioloop import IOLoop
from websockets.exceptions import InvalidStatus

from tests.conftest import StackFactory
from tests.moderation.conftest import ANOTHER_CHANNEL, Join
from tests.support.admin import TOKEN, Admin
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.processes import Stack
from tests.support.rest import Rest, eventually


@asynccontextmanager
async def banned(admin: Admin, **ban: Any) -> AsyncIterator[dict[str, Any]]:
    """Ban a subject within the context."""
    made = await admin.act("POST", "bans", ban)
    try:
        yield made
    finally:
        await admin.ask("DELETE", f"bans/{made['id']}")


async def status_of_joining(url: str, channel: str, address: str) -> int:
    """The HTTP status of a handshake from an address."""
    try:
        client = await Client.connect(url, channel, local_addr=(address, 0))
    except InvalidStatus as refusal:
        return refusal.response.status_code
    await client.leave()
    return 101


async def statuses(stack: Stack, channel: str, address: str) -> list[int]:
    """… on each front."""
    return [await status_of_joining(front.url, channel, address) for front in stack.fronts]


@pytest.mark.parametrize("subject", ["127.0.0.11", "127.0.0.8/29"])
async def test_a_banned_address_is_kept_out(stack: Stack, channel: str, join: Join, admin: Admin, subject: str) -> None:
    # Given clients on both fronts, some of them from one address
    bad = [await join(channel, front=front, local_addr=("127.0.0.11", 0)) for front in (0, 1)]
    good = [await join(channel, front=front, local_addr=("127.0.0.16", 0)) for front in (0, 1)]
    # When that address is banned, on one front
    async with banned(admin, address=subject, seconds=600, reason="No advertising.") as ban:
        assert (ban["kind"], ban["subject"], ban["channel"], ban["by"]) == ("address", subject, None, "anna")
        # Then its connections are closed, with a reason
        for client in bad:
            code, reason = await client.closed()
            assert code == 1008
            assert reason is not None
            assert reason.startswith("Your address is banned until 20")
            assert reason.endswith("UTC. No advertising.")
            assert await client.refusal() == reason
        # … and new ones are refused on every front, while other addresses are not affected
        assert await statuses(stack, channel, "127.0.0.11") == [403, 403]
        assert await statuses(stack, channel, "127.0.0.16") == [101, 101]
        for client in good:
            await client.until(text=await client.say())
    # And when the ban is lifted, it may connect again
    await eventually(lambda: statuses(stack, channel, "127.0.0.11"), [101, 101])


async def test_a_ban_holds_in_its_channel(
    stack: Stack, channel: str, fresh_channels: Any, admin: Admin, rest: Rest
) -> None:
    async with banned(admin, address="127.0.0.0/27", channel=channel, seconds=600) as ban:
        assert ban["channel"] == channel
        await eventually(lambda: statuses(stack, channel, "127.0.0.21"), [403, 403])
        assert await statuses(stack, next(fresh_channels), "127.0.0.21") == [101, 101]
        assert (await rest.put_text(channel, sample("text"))).code == 403
        # Other channels are open, and so is moderation: moderators who ban their own address can lift the ban
        assert len(await rest.last(ANOTHER_CHANNEL)) == 0


async def test_a_banned_nickname_is_useless(channel: str, join: Join, admin: Admin, other: Admin, rest: Rest) -> None:
    # Given a registered client, and unregistered ones
    pest = await join(channel, front=1, nickname="Pest-1")
    jane = await join(channel, nickname="jane")
    # When the nickname is banned, in any case
    async with banned(admin, nickname="pest-1", seconds=600, reason="Be kind."):
        # Then its holder is disconnected
        code, reason = await pest.closed()
        assert code == 1008
        assert reason is not None
        assert reason.startswith("The nickname 'pest-1' is banned until")
        assert reason.endswith("Be kind.")
        await jane.until(type="exiter", exiter="Pest-1")
        # … it cannot be registered, and cannot write or like
        guest = await join(channel, front=1)
        for message in (
            {"type": "newcomer", "newcomer": "PEST-1"},
            sample("text", author="Pest-1"),
            sample("image", author="pest-1"),
            sample("like", liker_author="pest-1", liked_author="jane"),
        ):
            await guest.send(**message)
            assert (await guest.refusal()).startswith("The nickname '")
        assert (await rest.put_text(channel, sample("text", author="Pest-1"))).code == 403
        # … and everything else works
        marker = await guest.say(author="pest-10")
        await jane.nothing_before(marker)
    await eventually(lambda: said_by(other, channel), True)


async def said_by(admin: Admin, channel: str) -> bool:
    """Whether the nickname may be registered again."""
    client = await Client.connect(admin.base_url, channel)
    text = await client.say(author="Pest-1")
    while not (client.texts().count(text) or any(m["type"] == "uncompliant" for m in client.received)):
        await asyncio.sleep(0.01)
    await client.leave()
    return text in client.texts()


async def test_a_banned_address_has_nothing_more_published(io_loop: IOLoop, start_stack: StackFactory) -> None:
    # Given a client whose photos wait for a worker
    stack = start_stack(channels="QGIS", admin_token=TOKEN)
    url, (heavy,) = stack.fronts[0].url, stack.heavy
    jane, pest = await Client.connect(url, "QGIS"), await Client.connect(url, "QGIS", local_addr=("127.0.0.41", 0))
    await pest.register("pest")
    heavy.freeze()
    for _ in range(5):
        await pest.send(**sample("image", author="pest"))
    await pest.send(type="bbox")
    await pest.refusal()  # all of them have been received
    # When the address is banned
    admin = Admin(url)
    await admin.act("POST", "bans", {"address": "127.0.0.41", "seconds": 600})
    await pest.closed()
    heavy.wake()
    # Then the one in flight is the last, followed by the release of the nickname
    await jane.until(type="exiter", exiter="pest")
    assert sum(m["type"] == "image" for m in jane.received) == 1
    await jane.leave()
    admin.close()


async def test_a_ban_expires(stack: Stack, channel: str, join: Join, admin: Admin, other: Admin) -> None:
    client = await join(channel, local_addr=("127.0.0.31", 0))
    ban = await admin.act("POST", "bans", {"address": "127.0.0.31", "seconds": 2})
    assert 2 <= ban["until"] - ban["since"] <= 3
    await client.closed()
    await eventually(lambda: statuses(stack, channel, "127.0.0.31"), [101, 101])
    assert time.time() >= ban["until"]
    assert ban["id"] not in [one["id"] for one in await other.act("GET", "bans")]


async def test_bans_are_listed_and_lifted_on_any_front(channel: str, admin: Admin, other: Admin) -> None:
    async with (
        banned(admin, address="2001:db8:1:2:3::4", reason="Été"),
        banned(other, nickname="Troll", channel=channel, seconds=60),
        banned(admin, nickname="Troll", seconds=120),
    ):
        for one in (admin, other):
            found = {(ban["subject"], ban["channel"]): ban for ban in await one.act("GET", "bans")}
            network = found["2001:db8:1:2::/64", None]
            assert (network["id"], network["kind"], network["by"], network["reason"]) == (
                "2001:db8:1:2::-64",
                "address",
                "anna",
                "Été",
            )
            assert 24 * 3600 <= network["until"] - network["since"] <= 24 * 3600 + 1
            # A later ban of a nickname replaces the earlier one
            assert ("Troll", None) in found
            assert ("Troll", channel) not in found
        assert await other.act("DELETE", "bans/2001:db8:1:2::-64") == {"lifted": "2001:db8:1:2::-64"}
        assert (await admin.refused("DELETE", "bans/2001:db8:1:2::-64"))[0] == 404
        assert (await admin.refused("DELETE", "bans/nobody"))[0] == 404


INVALID: list[tuple[Any, str | None]] = [
    ({}, "address"),
    ({"address": "127.0.0.1", "nickname": "jane"}, "address"),
    ({"address": "localhost"}, "address"),
    ({"address": "1.2.3.4/33"}, "address"),
    ({"address": "0.0.0.0/0"}, "address"),
    ({"address": "::/0"}, "address"),
    ({"address": "::ffff:1.2.3.4/100"}, "address"),
    ({"address": 12}, "address"),
    ({"nickname": "a b"}, "nickname"),
    ({"nickname": ""}, "nickname"),
    ({"nickname": "jane", "seconds": 0}, "seconds"),
    ({"nickname": "jane", "seconds": "1h"}, "seconds"),
    ({"nickname": "jane", "seconds": 10**9}, "seconds"),
    ({"nickname": "jane", "seconds": True}, "seconds"),
    ({"nickname": "jane", "reason": "x" * 81}, "reason"),
    ({"nickname": "jane", "channel": "nowhere"}, "channel"),
    ({"nickname": "jane", "surprise": 1}, "surprise"),
    ([], None),
]


async def test_an_invalid_ban_is_refused_with_the_reason(admin: Admin) -> None:
    before = await admin.act("GET", "bans")
    for body, field in INVALID:
        status, faults = await admin.refused("POST", "bans", body)
        assert status == 422
        assert {tuple(fault["loc"]) for fault in faults} == {("body", field) if field else ("body",)}
        assert all(set(fault) == {"loc", "msg", "type"} for fault in faults)
    assert await admin.act("GET", "bans") == before
