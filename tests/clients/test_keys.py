"""Private channels for clients without a field for a token: the instance's address contains a key."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.clients.conftest import ConnectClient
from tests.clients.qt import Qt
from tests.conftest import StackFactory
from tests.support.admin import TOKEN, Admin
from tests.support.contract import words
from tests.support.processes import Stack
from tests.support.rest import eventually

PRIVATE = "Été à la mer"


@pytest.fixture(scope="module")
def stack(open_stack: StackFactory) -> Iterator[Stack]:
    options = {"channels": f"QGIS,{PRIVATE},Other", "channel_tokens": f"{PRIVATE}:s3cret,Other:s3cret"}
    with open_stack(heavy=0, admin_token=TOKEN, **options) as stack:
        yield stack
        stack.assert_quiet_logs()


async def test_qt_and_qgis_join_with_a_key_and_are_told_when_it_is_revoked(
    stack: Stack, qt: Callable[[], Awaitable[Qt]], qgis: ConnectClient
) -> None:
    url, admin = stack.fronts[0].url, Admin(stack.fronts[0].url)
    key = await admin.act("POST", "keys", {"channels": [PRIVATE]})

    async def is_heard() -> bool:
        return (await admin.fetch(key["path"] + "/rules")).code == 200

    await eventually(is_heard, True)
    for end in ("", "/"):
        # QGIS lists channels and joins
        person = await qgis(PRIVATE, instance=url + key["path"] + end)
        assert await asyncio.to_thread(person.open_dock) == ["QGIS", PRIVATE]
        # Qt's sockets and requests
        client = await qt()
        base = f"{url}{key['path']}{end}"
        reply = await client.get(f"{base}/channels")
        assert (reply.status, reply.content_type, json.loads(reply.body)) == (
            200,
            "application/json",
            ["QGIS", PRIVATE],
        )
        await client.open(f"{base}/channel/{PRIVATE}/ws".replace("http", "ws", 1))
        client.send(type="text", author="jane", text=(text := words()))
        await client.message(type="text", text=text)
        await person.row(text=text)
        await person.close()
    # When the key is revoked, Qt is told why before its socket closes
    await admin.act("DELETE", f"keys/{key['id']}")
    told = await client.message(type="uncompliant")
    assert "ask the people who gave it to you" in told["reason"]
    assert (await client.until(event="disconnected"))["code"] == 1008
    # Later attempts to list and join are told, too
    reply = await client.get(f"{url}{key['path']}/rules")
    assert (reply.status, "ask the people who gave it" in reply.body) == (401, True)
    again = await qt()
    await again.open(f"{url}{key['path']}/channel/{PRIVATE}/ws".replace("http", "ws", 1))
    assert "ask the people who gave it" in (await again.message(type="uncompliant"))["reason"]
    assert (await again.until(event="disconnected"))["code"] == 1008
    admin.close()
