"""Moderators' decisions stay in force, whatever Redis loses."""

import json
from typing import Any

from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, Scene, until
from tests.support.admin import TOKEN, Admin, below
from tests.support.client import Client
from tests.support.redis_servers import Server
from tests.support.rest import Rest, eventually

Restrictions = list[tuple[bool, list[str]]]


async def restrictions(scene: Scene) -> Restrictions:
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


async def test_bans_and_freezes_outlive_every_loss(make_scene: MakeScene, server: Server) -> None:
    async with make_scene(redis_url=server.url, client=server.client, admin_token=TOKEN) as scene:

        async def are_in_force(*, is_frozen: bool, banned: list[str]) -> None:
            await eventually(lambda: restrictions(scene), [(is_frozen, banned)] * 2)

        # Given a ban, a lifted ban, and a frozen channel
        admin = Admin(scene.urls[0])
        for name in ("pest", "friend"):
            await admin.act("POST", "bans", {"nickname": name, "seconds": 600})
        await admin.act("DELETE", "bans/friend")
        await admin.act("PUT", below(CHANNEL, "freeze"))
        await are_in_force(is_frozen=True, banned=["pest"])

        # When Redis is flushed, and another ban is made before the fronts have noticed, then all are in force
        await are_in_force(is_frozen=True, banned=["pest"])
        server.client.flushall()
        await admin.act("POST", "bans", {"nickname": "troll", "seconds": 600})
        await are_in_force(is_frozen=True, banned=["pest", "troll"])

        # Likewise when Redis comes back empty
        server.kill()
        server.forget()
        server.start()
        await are_in_force(is_frozen=True, banned=["pest", "troll"])
        assert all("frozen" in refusal for refusal in await refusals(scene, "friend"))

        # When it loses its last second, in which decisions were made, then the last decisions are in force
        written = server.written()
        await admin.act("POST", "bans", {"nickname": "vandal", "seconds": 600})
        await admin.act("DELETE", "bans/pest")
        await admin.act("DELETE", below(CHANNEL, "freeze"))
        await eventually(lambda: refusals(scene, "pest"), ["", ""])
        server.kill()
        server.lose_after(written)
        server.start()
        await are_in_force(is_frozen=False, banned=["troll", "vandal"])
        assert await refusals(scene, "friend") == ["", ""]
        assert all("banned" in refusal for refusal in await refusals(scene, "vandal"))
        admin.close()


async def test_a_deleted_message_is_not_replayed(make_scene: MakeScene, server: Server) -> None:
    """Fronts replay what Redis may have lost, except for deleted messages."""
    async with make_scene(redis_url=server.url, client=server.client, admin_token=TOKEN) as scene:
        admin, rest = Admin(scene.urls[0]), Rest(scene.urls[1])
        jane, john = [await Client.connect(url, CHANNEL) for url in scene.urls]
        kept = []
        for is_message_lost in (True, False):
            # Given a message that was sent between others, and deleted
            kept.append(await _said(jane, john))
            written = server.written()
            deleted = await _said(jane, john)
            if not is_message_lost:
                written = server.written()
            await admin.act("DELETE", below(CHANNEL, f"messages/{deleted}"))
            kept.append(await _said(jane, john))

            # When Redis loses its last publications
            server.kill()
            server.lose_after(written)
            server.start()

            # Then all other messages are published again, but not this one, also after further messages
            await eventually(lambda: _stored(rest), kept[-5:])
            kept.append(await _said(jane, john))
            await eventually(lambda: _stored(rest), kept[-5:])
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
