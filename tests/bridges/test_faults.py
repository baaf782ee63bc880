"""Faults of the Matrix bridge, workers and Redis."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
import redis

from gischat.bridges.matrix.client import TIMELINE_EVENTS
from gischat.broker.keys import ChannelKeys
from tests.bridges.conftest import Bridged
from tests.bridges.processes import bridge_of, wait_there
from tests.support.contract import words
from tests.support.processes import free_port
from tests.support.waiting import LOOK, until


async def test_all_messages_arrive_once_and_in_order_despite_kills(bridged: Bridged) -> None:
    """The bridge, a worker, and a Redis that loses everything, also the bridge's place in the room."""
    alice = bridged.alice
    async with bridged.joined("jane") as jane:
        from_qgis = [f"q{number:02} {words()}" for number in range(12)]
        from_room = [f"r{number:02} {words()}" for number in range(12)]

        async def kill() -> None:
            for number, process in enumerate((bridged.bridge, bridged.stack.light[0], bridged.redis)):
                await until(lambda number=number: from_qgis[3 * number + 1] in jane.texts(), "a text", every=LOOK)
                await asyncio.to_thread(process.kill)
                await asyncio.to_thread(process.start)

        async def talk_in_qgis() -> None:
            for text in from_qgis:
                await jane.say(text)
                await jane.until(text=text)
                await alice.until(body=f"jane: {text}")

        async def talk_in_the_room() -> None:
            for text in from_room:
                await alice.say(text)

        # When both sides chat meanwhile
        await asyncio.gather(kill(), talk_in_qgis(), talk_in_the_room())

        # Then both sides have received everything once, in order, and with the right author
        for text in from_room:
            assert (await jane.until(type="text", text=text))["author"] == alice.nickname
        assert [text for text in jane.texts() if text in from_room] == from_room
        expected = [f"jane: {text}" for text in from_qgis]
        assert [body for body in alice.bodies() if body in expected] == expected
        bot_said = [e for e in alice.seen if e["sender"] == bridged.bot.user and e["type"] == "m.room.message"]
        assert not [e for e in bot_said if any(text in e["content"]["body"] for text in from_room)]


async def test_joining_and_leaving_is_announced_if_configured(bridged: Bridged) -> None:
    async with bridged.joined("newton"):
        content = (await bridged.alice.until(body="newton has joined the channel."))["content"]
        assert content["msgtype"] == "m.notice"
    await bridged.alice.until(body="newton has left the channel.")
    bob = await bridged.synapse.register("bob")
    async with bridged.joined("jane") as jane:
        await bob.join(bridged.alice.room)
        await jane.until(type="newcomer", newcomer=bob.nickname)
        await bob.leave()
        await jane.until(type="exiter", exiter=bob.nickname)


async def test_a_stopped_bridge_finishes_its_messages_and_announces_what_it_missed(bridged: Bridged) -> None:
    alice = bridged.alice
    outbox = ChannelKeys(bridged.stack.settings["instance_id"], "QGIS").outbox
    async with bridged.joined("jane") as jane:
        await alice.say(text := words())
        await jane.until(text=text)
        assert await bridged.bridge.stopped() == 0
        await jane.until(type="exiter", exiter=alice.nickname)
        # Messages sent meanwhile wait, as far as the outbox retains them; for others there is a notice
        forgotten, later = await jane.say(), await jane.say()
        id = (await jane.until(text=later))["id"].encode()
        with redis.Redis.from_url(bridged.redis.url) as client:
            (place,) = [place for place, entry in client.xrange(outbox) if entry[b"id"] == id]
            client.xtrim(outbox, minid=place, approximate=False)
        # Those in the room, too, even if they exceed one answer of the homeserver
        answers = [f"{number} {words()}" for number in range(TIMELINE_EVENTS + 2)]
        for answer in answers:
            await alice.say(answer)
        bridged.bridge.start()
        await alice.until(body=f"jane: {later}")
        told = next(body for body in alice.bodies() if body.endswith("from the channel QGIS."))
        assert told.startswith("Up to ")
        assert f"jane: {forgotten}" not in alice.bodies()
        assert (await jane.until(text=answers[-1]))["author"] == alice.nickname
        assert [text for text in jane.texts() if text in answers] == answers


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"matrix_token": "ended"}, "the token is wrong or has ended"),
        (
            {"matrix_bridges": "QGIS=!nowhere:example.test"},
            "a room is not bridged, that of channel QGIS: it cannot be entered",
        ),
        ({"matrix_homeserver": f"http://127.0.0.1:{free_port()}"}, "the homeserver cannot be reached"),
    ],
    ids=["token", "room", "homeserver"],
)
async def test_unreachable_servers_are_logged_and_retried(
    bridged: Bridged, changes: dict[str, Any], trouble: str
) -> None:
    # Given another instance, whose bridge cannot work
    bridge = bridge_of(bridged.stack, "other", **changes, instance_id=f"other-{uuid4()}")
    bridge.start()
    try:
        # Then it keeps trying, and logs why
        await until(lambda: trouble in bridge.new_log(), trouble, every=LOOK)
        assert bridge.running
        # And it can be stopped
        assert await bridge.stopped() == 0
    finally:
        bridge.kill()


async def test_two_bridges_of_an_instance_duplicate_nothing(bridged: Bridged) -> None:
    second = bridge_of(bridged.stack, "second")
    second.start()
    try:
        await until(lambda: "another process is the bridge" in second.new_log(), "the second to wait", every=LOOK)
        # When the first dies, the second takes its place
        bridged.bridge.kill()
        wait_there(second)
        async with bridged.joined("jane") as jane:
            await jane.say(text := words())
            await bridged.alice.until(body=f"jane: {text}")
            await bridged.alice.say(answer := words())
            assert (await jane.until(text=answer))["author"] == bridged.alice.nickname
        assert await second.stopped() == 0
    finally:
        second.kill()
        bridged.bridge.start()
        await asyncio.to_thread(wait_there, bridged.bridge)


async def test_texts_with_the_prefix_are_passed_to_the_pinged_room(bridged: Bridged) -> None:
    pinged = await bridged.synapse.register("pinged")
    await pinged.create_room()
    ping = bridge_of(
        bridged.stack,
        "ping",
        matrix_bridges="",
        matrix_ping_homeserver=bridged.synapse.url,
        matrix_ping_token=bridged.bot.token,
        matrix_ping_roomid=pinged.room,
        matrix_ping_message_prefix="@all",
    )
    ping.start()
    try:
        await until(lambda: "the ping bridge is connected" in ping.new_log(), "the ping", every=LOOK)
        async with bridged.joined("jane") as jane:
            for text in ("not this @all", "@all come here", "nor this", "@all last"):
                await jane.say(text)
        await pinged.until(body="jane: @all last (QGIS)")
        assert pinged.bodies() == ["jane: @all come here (QGIS)", "jane: @all last (QGIS)"]
        assert await ping.stopped() == 0
    finally:
        ping.kill()
