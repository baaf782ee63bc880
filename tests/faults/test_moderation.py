"""Moderators' decisions stay in force, whatever Redis loses."""

import json
from typing import Any

import pytest

from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, Scene, until
from tests.support.admin import TOKEN, Admin, below
from tests.support.client import Client
from tests.support.redis_servers import Server
from tests.support.rest import Rest, eventually

MODERATED = {"admin_token": TOKEN}


async def restrictions(scene: Scene) -> list[tuple[bool, list[str]]]:
    """Each front's state: whether the channel is frozen, and the banned subjects."""
    found = []
    for url in scene.urls:
        admin = Admin(url)
        channels, bans = await admin.ask("GET", "channels"), await admin.ask("GET", "bans")
        admin.close()
        if (channels.code, bans.code) != (200, 200):
            return []  # redis is not there yet
        found.append((_decoded(channels)[0]["frozen"], sorted(ban["subject"] for ban in _decoded(bans))))
    return found


def _decoded(response: Any) -> Any:
    return json.loads(response.body)


async def refusals(scene: Scene, author: str) -> list[str]:
    """Each front's answer to a text under that nickname: the reason, or nothing."""
    found = []
    for url in scene.urls:
        client = await Client.connect(url, CHANNEL)
        text = await client.say(author=author)
        await until(lambda c=client, t=text: t in c.texts() or _reasons(c), "an answer")  # type: ignore[misc]
        found.append(_reasons(client))
        await client.leave()
    return found


def _reasons(client: Client) -> str:
    return "".join(message["reason"] for message in client.received if message["type"] == "uncompliant")


async def test_bans_and_freezes_outlive_a_flush(make_scene: MakeScene, server: Server) -> None:
    async with make_scene(redis_url=server.url, client=server.client, **MODERATED) as scene:
        # Given a ban, a lifted ban, and a frozen channel
        admin = Admin(scene.urls[0])
        for name in ("pest", "friend"):
            await admin.act("POST", "bans", {"nickname": name, "seconds": 600})
        await admin.act("DELETE", "bans/friend")
        await admin.act("PUT", below(CHANNEL, "freeze"))
        await eventually(lambda: restrictions(scene), [(True, ["pest"])] * 2)

        # When Redis loses all data twice, the second time for good
        for _ in range(2):
            server.client.flushall()
            await eventually(lambda: restrictions(scene), [(True, ["pest"])] * 2)
        server.kill()
        server.forget()
        server.start()

        # Then they are in force on every front
        await eventually(lambda: restrictions(scene), [(True, ["pest"])] * 2)
        assert all("frozen" in refusal for refusal in await refusals(scene, "friend"))
        await admin.act("DELETE", below(CHANNEL, "freeze"))
        assert await refusals(scene, "friend") == ["", ""]
        assert all("banned" in refusal for refusal in await refusals(scene, "pest"))
        admin.close()


async def test_a_ban_right_after_a_flush_keeps_earlier_decisions(make_scene: MakeScene, server: Server) -> None:
    async with make_scene(redis_url=server.url, client=server.client, **MODERATED) as scene:
        admin = Admin(scene.urls[0])
        await admin.act("POST", "bans", {"nickname": "pest", "seconds": 600})
        await eventually(lambda: restrictions(scene), [(False, ["pest"])] * 2)
        server.client.flushall()
        # When another ban is made before the fronts have noticed
        await admin.act("POST", "bans", {"nickname": "troll", "seconds": 600})
        # Then both are in force
        await eventually(lambda: restrictions(scene), [(False, ["pest", "troll"])] * 2)
        admin.close()


async def test_decisions_of_the_lost_second_stay_in_force(make_scene: MakeScene, server: Server) -> None:
    """As when Redis' machine dies: Redis has lost its last second, which the fronts know."""
    async with make_scene(redis_url=server.url, client=server.client, **MODERATED) as scene:
        admin = Admin(scene.urls[0])
        await admin.act("POST", "bans", {"nickname": "friend", "seconds": 600})
        await admin.act("PUT", below(CHANNEL, "freeze"))
        await eventually(lambda: restrictions(scene), [(True, ["friend"])] * 2)
        written = server.written()

        # When a ban is made, a ban lifted, the channel thawed, and all of that is lost
        await admin.act("POST", "bans", {"nickname": "pest", "seconds": 600})
        await admin.act("DELETE", "bans/friend")
        await admin.act("DELETE", below(CHANNEL, "freeze"))
        await eventually(lambda: refusals(scene, "friend"), ["", ""])
        server.kill()
        server.lose_after(written)
        server.start()

        # Then the last decisions are in force
        await eventually(lambda: restrictions(scene), [(False, ["pest"])] * 2)
        assert await refusals(scene, "friend") == ["", ""]
        admin.close()


@pytest.mark.parametrize("lost", ["that it was said", "that it was deleted"])
async def test_a_deleted_message_is_not_replayed(make_scene: MakeScene, server: Server, lost: str) -> None:
    """Fronts replay what Redis may have lost, except for deleted messages."""
    async with make_scene(redis_url=server.url, client=server.client, **MODERATED) as scene:
        admin, rest = Admin(scene.urls[0]), Rest(scene.urls[1])
        jane, john = [await Client.connect(url, CHANNEL) for url in scene.urls]
        # Given a message that was sent between others, and deleted
        kept = await _said(jane, john)
        written = server.written()
        deleted = await _said(jane, john)
        if lost == "that it was deleted":
            written = server.written()
        await admin.act("DELETE", below(CHANNEL, f"messages/{deleted}"))
        later = await _said(jane, john)

        # When Redis loses its last publications
        server.kill()
        server.lose_after(written)
        server.start()

        # Then all other messages are published again, but not this one
        await eventually(lambda: _stored(rest), [kept, later])
        # … also after further messages
        await eventually(lambda: _stored(rest), [kept, later, await _said(jane, john)])
        for client in (jane, john):
            await client.leave()
        for one in (admin, rest):
            one.close()


async def _said(speaker: Client, hearer: Client) -> str:
    """Send a text, and wait until a client on another front receives it; returns its id."""
    return str((await hearer.until(text=await speaker.say()))["id"])


async def _stored(rest: Rest) -> list[str] | None:
    response = await rest.fetch(f"/channel/{CHANNEL}/last")
    return [message["id"] for message in _decoded(response)] if response.code == 200 else None


async def test_messages_survive_moderation_and_flushes_at_the_same_time(make_scene: MakeScene, server: Server) -> None:
    """Control messages are not sent to clients, and messages are neither lost, duplicated nor reordered by them."""
    # Given moderators who run surveys
    timings = {"survey": 60.0, "survey_answer": 60.0}
    async with make_scene(redis_url=server.url, client=server.client, timings=timings, **MODERATED) as scene:
        await scene.talk()
        admin = Admin(scene.urls[1])
        for number in range(6):
            await scene.flow(10)
            await admin.act("POST", "bans", {"nickname": f"pest-{number}", "seconds": 600})
            assert (await admin.act("GET", "connections"))["missing"] == []
            if number % 2:
                server.client.flushall()
                await scene.flow(1)
        await scene.flow(20)
        await eventually(lambda: restrictions(scene), [(False, [f"pest-{number}" for number in range(6)])] * 2)
        admin.close()
        await scene.settle()
        assert all(peer.sessions == 1 for peer in scene.peers)
