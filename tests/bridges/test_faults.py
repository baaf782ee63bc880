"""Faults of the Matrix bridge, workers and Redis."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from gischat.bridges.matrix.client import TIMELINE_EVENTS
from tests.bridges.conftest import Bridged, OpenBridged
from tests.bridges.processes import bridge_of, wait_there
from tests.support.contract import words
from tests.support.processes import Valkey, free_port
from tests.support.waiting import LOOK, until


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Redis that loses everything when it is killed."""
    with Valkey(tmp_path_factory.mktemp("redis")) as redis:
        yield redis


@pytest.fixture(scope="module")
def bridged(open_bridged: OpenBridged, redis: Valkey) -> Iterator[Bridged]:
    with open_bridged(redis_url=redis.url, matrix_notices="yes") as bridged:
        yield bridged


async def test_all_messages_arrive_once_and_in_order_though_redis_loses_everything(
    bridged: Bridged, redis: Valkey
) -> None:
    """The bridge's place in the room, too; test_scene kills each process with a Redis that loses nothing."""
    alice = bridged.alice
    async with bridged.joined("jane") as (jane,):
        from_qgis = [f"q{number:02} {words()}" for number in range(8)]
        from_room = [f"r{number:02} {words()}" for number in range(8)]

        async def kill() -> None:
            await until(lambda: from_qgis[1] in jane.texts(), "later ones to be in flight", every=LOOK)
            await asyncio.to_thread(redis.kill)
            await asyncio.to_thread(redis.start)

        async def talk_in_qgis() -> None:
            for text in from_qgis:
                await jane.say(text)
                await jane.until(text=text)
                await alice.until(body=f"jane: {text}")

        async def talk_in_the_room() -> None:
            for text in from_room:
                await alice.say_surely(text)

        # When both sides chat meanwhile
        await asyncio.gather(kill(), talk_in_qgis(), talk_in_the_room())

        # Then both sides have received everything once, in order, and with the right author
        for text in from_room:
            heard = await jane.until(type="text", text=text)
            assert heard["author"] == alice.nickname
        await alice.until(body=f"jane: {from_qgis[-1]}")
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
    async with bridged.joined("jane") as (jane,):
        await bob.join(bridged.alice.room)
        await jane.until(type="newcomer", newcomer=bob.nickname)
        await bob.leave()
        await jane.until(type="exiter", exiter=bob.nickname)


async def test_a_stopped_bridge_finishes_its_messages_and_its_users_leave(bridged: Bridged) -> None:
    async with bridged.joined("jane") as (jane,):
        await bridged.alice.say(text := words())
        await jane.until(text=text)
        assert await bridged.bridge.stopped() == 0
        await jane.until(type="exiter", exiter=bridged.alice.nickname)
        # Messages sent meanwhile wait
        await jane.say(later := words())
        await jane.until(text=later)
        # Those in the room, too, even if they exceed one answer of the homeserver
        answers = [f"{number} {words()}" for number in range(TIMELINE_EVENTS + 2)]
        for answer in answers:
            await bridged.alice.say(answer)
        bridged.bridge.start()
        await bridged.alice.until(body=f"jane: {later}")
        assert (await jane.until(text=answers[-1]))["author"] == bridged.alice.nickname
        assert [text for text in jane.texts() if text in answers] == answers


@pytest.mark.parametrize(
    ("changes", "trouble", "words_of_it"),
    [
        ({"matrix_token": "ended"}, "unauthorized", "the token is wrong or has ended"),
        (
            {"matrix_bridges": "QGIS=!nowhere:example.test"},
            "no_room",
            "a room is not bridged, that of channel QGIS: it cannot be entered",
        ),
        ({"matrix_homeserver": f"http://127.0.0.1:{free_port()}"}, "unreachable", "the homeserver cannot be reached"),
    ],
    ids=["token", "room", "homeserver"],
)
async def test_unreachable_servers_are_logged_and_retried(
    bridged: Bridged, changes: dict[str, Any], trouble: str, words_of_it: str
) -> None:
    # Given another instance, whose bridge cannot work
    settings = {**changes, "instance_id": f"{bridged.stack.settings['instance_id']}-{trouble}"}
    bridge = bridge_of(bridged.stack, trouble, **settings)
    bridge.start()
    try:
        # Then it keeps trying, and logs why
        await until(lambda: words_of_it in bridge.whole_log(), words_of_it, every=LOOK)
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
        async with bridged.joined("jane") as (jane,):
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
        async with bridged.joined("jane") as (jane,):
            for text in ("not this @all", "@all come here", "nor this"):
                await jane.say(text)
            await jane.say("@all last")
        await pinged.until(body="jane: @all last (QGIS)")
        assert pinged.bodies() == ["jane: @all come here (QGIS)", "jane: @all last (QGIS)"]
        assert await ping.stopped() == 0
    finally:
        ping.kill()


@pytest.fixture
def forgetful(open_bridged: OpenBridged) -> Iterator[Bridged]:
    with open_bridged(max_outbox_messages=5) as bridged:
        yield bridged


async def test_messages_missed_by_the_bridge_are_announced(forgetful: Bridged) -> None:
    # Given a bridge that is away while more messages are sent than the outbox retains
    alice, bridge = forgetful.alice, forgetful.bridge
    async with forgetful.joined("jane") as (jane,):
        assert await bridge.stopped() == 0
        texts = [await jane.say() for _ in range(12)]
        await jane.until(text=texts[-1])
        # When it starts again
        bridge.start()
        # Then the newest message arrives, and before it a notice that messages are missing
        await alice.until(body=f"jane: {texts[-1]}")
        told = next(body for body in alice.bodies() if body.endswith("from the channel QGIS."))
        assert told.startswith("Up to ")
        assert f"jane: {texts[0]}" not in alice.bodies()
