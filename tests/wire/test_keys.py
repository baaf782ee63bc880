"""Addresses with a path: access keys, what they open and how they end; and `BASE_PATH=/chat`."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis

from gischat.front.auth.failed_attempts import MAX_FAILURES
from tests.support.admin import TOKEN, Admin
from tests.support.client import Client
from tests.support.contract import words
from tests.support.processes import HOST, Stack, Valkey
from tests.support.rest import Rest, channel_path, eventually

BASE = "/chat"  # the path of the instance's address, whether a proxy strips it or not
EVERY_PATH = ["/", "/web/chat.js", "/version", "/channels", "/rules", "/status", "/docs", "/docs/swagger-ui.css"]
EVERY_PATH += ["/openapi.json", "/livez", "/readyz", "/channel/QGIS/users", "/channel/QGIS/last", "//rules"]
CHANNELS = ["QGIS", "Field", "Été à la mer"]
GUESSER = "203.0.113.9"  # an address that a proxy reports
OPERATORS_TOKEN = "the-operators-own"

secrets: list[str] = []  # every key that a test has got or tried


@pytest.fixture(scope="module")
def stack(open_stack: Callable[..., Stack]) -> Iterator[Stack]:
    """Two fronts with two private channels; at the end, no log may contain a key."""
    tokens = ",".join(f"{channel}:{OPERATORS_TOKEN}" for channel in CHANNELS[1:])
    options = {"channels": ",".join(CHANNELS), "channel_tokens": tokens, "admin_token": TOKEN, "log_level": "debug"}
    with open_stack(fronts=2, heavy=0, base_path=BASE, trusted_proxies=HOST, **options) as stack:
        yield stack
    for process in stack.processes:
        log = process.whole_log()
        assert [secret for secret in secrets if secret in log] == [], process.name
        assert ("/k/…/" in log) == (process in stack.fronts)


# The path of the instance itself


async def test_every_path_but_the_operators_is_answered_with_and_without_the_base(rest: Rest) -> None:
    for path in EVERY_PATH:
        below, without = await rest.fetch(BASE + path), await rest.fetch(path)
        assert (below.code, below.body) == (200, without.body), path
    for unknown in (BASE + "/nowhere", "/chatter/rules"):
        assert (await rest.fetch(unknown)).code == 404
    for path in ("/metrics", "/admin/bans"):
        for asked, code in ((path, 200), (BASE + path, 404), (f"{BASE}/{path}", 404)):
            assert (await rest.fetch(asked, Authorization=f"Bearer {TOKEN}")).code == code, asked


async def test_the_openapi_document_names_the_base(rest: Rest) -> None:
    document = await rest.get(BASE + "/openapi.json")
    assert document["servers"] == [{"url": BASE}]
    assert (await rest.get(BASE + "/map"))["code"] == f"{BASE}/web/built/map.js"
    assert document["paths"]["/metrics"]["get"]["servers"] == [{"url": "/"}]
    assert "servers" not in document["paths"]["/rules"]["get"]


async def test_messages_are_exchanged_below_the_base(stack: Stack) -> None:
    for slash in ("", "/"):
        jane = await Client.connect(stack.fronts[0].url + BASE + slash, "QGIS")
        await jane.until(text=await jane.say())
        await jane.leave()


# Keys


async def made(admin: Admin, *channels: str, **given: Any) -> dict[str, Any]:
    key: dict[str, Any] = await admin.act("POST", "keys", {"channels": channels, **given})
    secrets.append(key["key"])
    return key


async def known(rests: list[Rest], key: dict[str, Any], *, holds: bool = True) -> None:
    """Wait until every front has received a key, or its end."""
    for rest in rests:

        async def is_heard(rest: Rest = rest) -> bool:
            return (await rest.fetch(key["path"] + "/rules")).code == 200

        await eventually(is_heard, holds)


def wrong(key: str) -> str:
    """A well-formed key that does not exist."""
    tampered = key[:-1] + ("0" if key[-1] != "0" else "1")
    secrets.append(tampered)
    return tampered


@pytest.mark.parametrize("where", ["{}", f"{BASE}/{{}}/"])
async def test_every_endpoint_is_below_a_key(admin: Admin, stack: Stack, rests: list[Rest], where: str) -> None:
    key = await made(admin, "Field")
    await known(rests, key)
    url = stack.fronts[1].url + where.format(key["path"])
    rest = Rest(url)
    # It lists the public channels and its own, and opens those
    assert await rest.get("/channels") == ["QGIS", "Field"]
    assert [one["name"] for one in (await rest.get("/status"))["channels"]] == ["QGIS", "Field"]
    assert (await rest.get("/rules"))["main_lang"] == "en"
    client = await Client.connect(url, "Field")
    public = await Client.connect(url, "QGIS")
    text = await client.say()
    await client.until(text=text)
    body = {"author": "bot", "text": words()}
    assert (await rest.put_text("Field", body)).code == 200
    assert [one["text"] for one in await rest.last("Field")][-2:] == [text, body["text"]]
    assert await rest.users("QGIS") == []
    # … but no others, with a reason
    answer = await rest.fetch(channel_path(CHANNELS[2], "users"))
    assert (answer.code, "your key is not for it" in answer.body.decode()) == (401, True)
    # Moderation and metrics do not exist below a key, and the page is redirected with the key in the fragment
    for path in ("/admin/keys", "/metrics"):
        assert (await rest.fetch(path)).code == 404
    moved = await rest.fetch("/", follow_redirects=False)
    assert (moved.code, moved.headers["Referrer-Policy"]) == (302, "no-referrer")
    assert moved.headers["Location"].lstrip("./") == f"#key={key['key']}"
    assert (await rest.fetch("/")).effective_url.partition("#")[0].rstrip("/").removesuffix(BASE) == stack.fronts[1].url
    described = (await rest.fetch("/openapi.json")).body.decode()
    assert key["key"] not in described
    rest.close()
    for one in (client, public):
        await one.leave()


async def test_a_wrong_key_is_refused_with_a_reason(admin: Admin, stack: Stack, rests: list[Rest]) -> None:
    key = await made(admin, "Field")
    await known(rests, key)
    url = f"{stack.fronts[0].url}/k/{wrong(key['key'])}"
    rest = Rest(url)
    for path in ("/rules", "/channels", channel_path("QGIS", "users"), "/", "/web/chat.js", "/nowhere"):
        answer = await rest.fetch(path, X_Forwarded_For=GUESSER)
        assert answer.code == 401, path
        assert "ask the people who gave it to you" in json.loads(answer.body)["detail"]
        assert answer.headers["Content-Type"] == "application/json"
    for channel in ("Field", "QGIS"):
        client = await Client.connect(url, channel, additional_headers={"X-Forwarded-For": GUESSER})
        assert "ask the people who gave it to you" in await client.refusal()
        assert (await client.closed())[0] == 1008
        await client.leave()
    # Further wrong keys are locked out; the valid key still works, because others may share the address
    for _ in range(MAX_FAILURES):
        answer = await rest.fetch("/rules", X_Forwarded_For=GUESSER)
    assert (answer.code, int(answer.headers["Retry-After"]) > 0, b"Please wait" in answer.body) == (429, True, True)
    assert (await rests[0].fetch(key["path"] + "/rules", X_Forwarded_For=GUESSER)).code == 200
    rest.close()


async def test_a_revoked_key_disconnects_its_clients(admin: Admin, stack: Stack, rests: list[Rest]) -> None:
    key, other = await made(admin, "Field", CHANNELS[2], note="Été"), await made(admin, "Field")
    for one in (key, other):
        await known(rests, one)
    urls = [front.url + key["path"] for front in stack.fronts]
    gone = [await Client.connect(urls[0], "Field"), await Client.connect(urls[1], "QGIS")]
    stays = [
        await Client.connect(stack.fronts[1].url + other["path"], "Field"),
        await Client.connect(urls[1], "Field", query=f"?token={OPERATORS_TOKEN}"),
    ]
    listed = {one["id"]: one for one in await admin.act("GET", "keys")}
    assert (listed[key["id"]]["channels"], listed[key["id"]]["note"]) == (["Field", CHANNELS[2]], "Été")
    assert not {"key", "digest"} & listed[key["id"]].keys()

    assert await admin.act("DELETE", f"keys/{key['id']}") == {"revoked": key["id"]}

    for client in [*gone, stays.pop()]:
        assert "ask the people who gave it to you" in await client.refusal()
        assert await client.closed() == (1008, "The key of this connection has ended.")
        await client.leave()
    await stays[0].until(text=await stays[0].say())
    await stays[0].leave()
    await known(rests, key, holds=False)
    assert key["id"] not in {one["id"] for one in await admin.act("GET", "keys")}
    assert (await admin.refused("DELETE", f"keys/{key['id']}"))[0] == 404


async def test_keys_outlive_fronts_and_losses(admin: Admin, stack: Stack, rests: list[Rest], valkey: Valkey) -> None:
    key = await made(admin, "Field")
    await known(rests, key)
    stack.fronts[1].restart()
    stack.wait_healthy(stack.fronts[1])
    await known(rests, key)
    # When Redis loses everything at once
    with redis.Redis.from_url(valkey.url) as client:
        client.delete(*client.keys(f"gischat:{{{stack.settings['instance_id']}:*"))

    async def listed() -> bool:
        return key["id"] in {one["id"] for one in await admin.act("GET", "keys")}

    await eventually(listed, True)


ASKED = [
    b"GET /k/KEY/nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //k//KEY//k/KEY/rules?token=KEY&KEY HTTP/1.1\r\nHost: x\r\n\r\n",
    b"BREW /K/KEY/channel/k/KEY/ws HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /k/KEY/channel/Field/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET /k/KEY/with spaces HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /k/KEY/rules HTTP/1.1\r\nno header\r\n\r\n",
    b"GET /k/KEY/rules HTTP/1.1\r\n\r\n",
    b"PUT /k/KEY/channel/QGIS/text HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n",
    b"GET http://x/k/KEY/rules HTTP/1.1\r\nHost: x\r\n\r\n",
    b"DELETE /admin/keys/KEY HTTP/1.1\r\nHost: x\r\n\r\n",
]


async def test_no_log_and_no_answer_to_anything_has_a_key(admin: Admin, stack: Stack, rests: list[Rest]) -> None:
    """The fixture of the stack checks the logs at the end."""
    key = await made(admin, "Field")
    await known(rests, key)
    for request in ASKED:
        for secret in (key["key"], wrong(key["key"])):
            reader, writer = await asyncio.open_connection(HOST, stack.fronts[0].port)
            writer.write(request.replace(b"KEY", secret.encode()))
            with suppress(OSError):  # the server has closed already
                writer.write_eof()
            assert secret.encode() not in await reader.read(), request
            writer.close()


async def test_invalid_requests_for_keys_are_refused_with_a_reason(admin: Admin) -> None:
    for body, said in (
        ({"channels": ["QGIS"]}, "no private channel"),
        ({"channels": []}, "1"),
        ({}, "Missing"),
        ({"channels": ["Field"], "seconds": 0}, "1"),
        ({"channels": ["Field"], "note": "x" * 201}, "200"),
    ):
        status, detail = await admin.refused("POST", "keys", body)
        assert (status, said in json.dumps(detail)) == (422, True), detail
