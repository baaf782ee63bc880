"""What the QChat plugins of QGIS and QField send, as `docs/clients.md` describes it, and what they need for an answer.

`Client` breaks as QGIS does, by a missing or an unknown key. Both plugins put what a person has typed before each path.
"""

import asyncio
import contextlib
import http.client
import json
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients.conftest import StartQt
from tests.support.admin import Admin
from tests.support.client import Client
from tests.support.contract import words
from tests.support.pictures import TINY_PNG
from tests.support.processes import Stack
from tests.support.rest import Rest, channel_path, eventually
from tests.support.waiting import DEADLINE

ASKED = "utm_source=QGIS&utm_medium=QChat&utm_campaign=plugin_1.7.0"
AS_QGIS = {"Accept": "application/json", "Connection": "Keep-Alive", "Accept-Encoding": "gzip, deflate"}


async def asked(instance: str, path: str) -> Any:
    """The answer that QGIS gets.

    It wants a header of just this name and type, and caches for ever what has no `no-store`.
    """
    address = urlsplit(instance + path)

    def ask() -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(address.netloc, timeout=DEADLINE)
        connection.request("GET", f"{address.path}?{ASKED}", headers=AS_QGIS)
        with contextlib.closing(connection), connection.getresponse() as answer:
            return answer.status, answer.getheaders(), answer.read()

    status, headers, body = await asyncio.to_thread(ask)
    types = [value for name, value in headers if name == "Content-Type"]
    assert (status, types, dict(headers)["Cache-Control"]) == (200, ["application/json"], "no-store")
    return json.loads(body)


def of_qgis(type_: str, **values: Any) -> dict[str, Any]:
    return {"type": type_, "id": str(uuid.uuid4()), "timestamp": int(time.time()), **values}


@pytest.mark.parametrize("end", ["", "/"])
async def test_qgis_and_qfield_talk_at_any_address(stack: Stack, admin: Admin, end: str) -> None:
    # Given an address with a path, which may end in a slash: a key's
    key = await admin.act("POST", "keys", {"channels": ["Secret"]})
    url = stack.fronts[0].url + key["path"] + end
    await eventually(lambda: _status(admin, key["path"] + "/rules"), 200)

    # When QGIS opens its dock and joins
    assert {"main_lang", "max_author_length", "rules"} <= (await asked(url, "/rules")).keys()
    assert "Secret" in await asked(url, "/channels")
    assert (await asked(url, "/status"))["status"] == "ok"
    desk = await Client.connect(url, "Secret")
    await desk.send(**of_qgis("newcomer", newcomer="dora"))
    await desk.until(type="newcomer", newcomer="dora")

    # … and QField, without ids
    field = await Client.connect(url, "Secret")
    await field.register("jd_NaN")
    await desk.count(2)
    assert await asked(url, channel_path("Secret", "users")) == ["dora", "jd_NaN"]

    # Then they talk
    text = of_qgis("text", author="dora", avatar="mGeoPackage.svg", text=words(), in_reply_to_id=None)
    await desk.send(**text)
    echo = await desk.until(id=text["id"])
    assert await field.until(id=text["id"]) == echo
    await field.send(type="image", author="jd_NaN", avatar="mIconXyz.svg", image_data=TINY_PNG)
    assert (await desk.until(type="image"))["author"] == "jd_NaN"

    # When QField disconnects, which closes at once behind its `exiter`, and comes back under the same nickname
    await field.send(type="exiter", exiter="jd_NaN")
    await field.leave()
    await desk.until(type="exiter", exiter="jd_NaN")
    await desk.count(1)
    again = await Client.connect(url, "Secret")
    await again.register("jd_NaN")
    assert text["text"] in again.texts()
    await again.leave()
    await desk.leave()


async def test_qt_is_told_when_its_key_is_revoked(stack: Stack, admin: Admin, qt: StartQt) -> None:
    key = await admin.act("POST", "keys", {"channels": ["Secret"]})
    url = stack.fronts[0].url + key["path"]
    await eventually(lambda: _status(admin, key["path"] + "/rules"), 200)
    socket = f"{url}/channel/Secret/ws".replace("http", "ws", 1)
    first = await qt()
    await first.open(socket)
    await first.message(type="nb_users")

    await admin.act("DELETE", f"keys/{key['id']}")

    # Why, before its socket closes; later attempts are told, too
    await _told_of_the_key(first)
    reply = await first.get(f"{url}/rules")
    assert (reply.status, "ask the people who gave it" in reply.body) == (401, True)
    again = await qt()
    await again.open(socket)
    await _told_of_the_key(again)


async def _told_of_the_key(client: Any) -> None:
    assert "ask the people who gave it" in (await client.message(type="uncompliant"))["reason"]
    assert (await client.until(event="disconnected"))["code"] == 1008


async def _status(rest: Rest, path: str) -> int:
    return (await rest.fetch(path)).code
