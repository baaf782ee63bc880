"""Announcements."""

import uuid
from typing import Any

from tests.moderation.conftest import Join
from tests.support.admin import Admin, acts, below
from tests.support.contract import sample, words
from tests.support.processes import Stack
from tests.support.rest import Rest


async def test_an_announcement_is_a_text_and_comes_once(
    stack: Stack, channel: str, join: Join, rests: list[Rest], admin: Admin
) -> None:
    clients = [await join(channel, front=front) for front in (0, 1)]
    body = {"text": words(), "id": str(uuid.uuid4())}
    for _ in range(2):
        answer = await admin.act("POST", below(channel, "announcements"), body)
        assert answer["published"] == [{"channel": channel, "id": body["id"]}]
    for client, rest in zip(clients, rests, strict=True):
        message = await client.until(type="text")  # a strict client has checked its keys
        assert (message["id"], message["author"], message["text"]) == (body["id"], "gischat", body["text"])
        assert await rest.last(channel) == [message]
    marker = await clients[0].say()
    for client in clients:
        await client.nothing_before(marker)
    # It is logged without its text
    assert [told["act"] for told in acts(stack.fronts[0])] == ["announce"] * 2
    stack.assert_quiet_logs()


async def test_clients_cannot_write_with_the_instances_nickname(channel: str, join: Join, rest: Rest) -> None:
    jane = await join(channel, front=1)
    for message in ({"type": "newcomer", "newcomer": "gischat"}, sample("text", author="GisChat")):
        await jane.send(**message)
        assert "is the server's own." in await jane.refusal()
    assert (await rest.put_text(channel, sample("text", author="gischat"))).code == 403


async def test_an_invalid_text_is_not_announced(channel: str, admin: Admin, rest: Rest) -> None:
    bodies: list[Any] = [{}, {"text": "x" * 256}, {"text": 1}, {"text": "a", "id": "b"}, []]
    for body in bodies:
        assert (await admin.ask("POST", below(channel, "announcements"), body)).code == 422
    assert await rest.last(channel) == []
