"""The HTTP endpoints. test_strict_clients.py has the bytes that QGIS compares."""

import asyncio
import json
import re
import uuid
from functools import partial

import pytest
from tornado.httpclient import HTTPResponse

from tests.support.client import DEADLINE
from tests.support.contract import CANARY, check, sample, words
from tests.support.processes import HOST, Front, Stack
from tests.support.rest import Rest, channel_path, eventually
from tests.wire.conftest import FRESH_CHANNELS, NAMED_CHANNELS, Join


async def test_version_channels_and_their_order(rest: Rest, channel: str) -> None:
    version = await rest.get("/version")
    assert set(version) == {"version"}
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", version["version"])
    # Query strings change nothing
    for query in ("", "?since=1&x=%20y"):
        assert await rest.get("/channels" + query) == NAMED_CHANNELS + FRESH_CHANNELS
    assert await rest.get(channel_path(channel, "users") + "?a=b") == []


async def test_status_counts_the_channels_people_over_all_fronts(channel: str, join: Join, rests: list[Rest]) -> None:
    clients = [await join(channel, front=front) for front in (0, 0, 1)]

    await clients[0].count(3)

    for rest in rests:
        status = await rest.get("/status")
        assert set(status) == {"status", "healthy", "channels"}
        assert (status["status"], status["healthy"]) == ("ok", True)
        assert [entry["name"] for entry in status["channels"]] == NAMED_CHANNELS + FRESH_CHANNELS
        assert {"name": channel, "nb_connected_users": 3} in status["channels"]
        for path in ("/livez", "/readyz"):
            assert (await rest.fetch(path)).code == 200


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_and_all_of_its_assets_come_from_us(path: str, stack: Stack, rest: Rest) -> None:
    page = await rest.fetch(path)

    assert page.code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    text = page.body.decode()
    assets = re.findall(r"""(?:src|href)=["']([^"'#]+)["']""", text)
    assert assets
    for asset in assets:
        assert not re.match(r"(https?:)?//", asset), f"{asset} is not ours"
        if not asset.startswith("data:"):
            assert (await rest.fetch("/" + asset.removeprefix(".").removeprefix("/"))).code == 200, asset
    # It uses the address from which it was loaded, which alone is right behind a proxy
    assert str(stack.fronts[0].port) not in text
    assert "localhost" not in text


async def test_the_openapi_document_names_every_endpoint(rest: Rest) -> None:
    document = await rest.get("/openapi.json")

    assert document["openapi"].startswith("3.")
    documented = {f"{method} {path}" for path, item in document["paths"].items() for method in item}
    ends = {"get /channel/{channel}/users", "get /channel/{channel}/last", "put /channel/{channel}/text"}
    assert documented >= ends | {f"get /{name}" for name in ("version", "channels", "rules", "status")}


async def test_a_channels_name_may_hold_what_must_be_percent_encoded(rest: Rest, join: Join) -> None:
    for name in NAMED_CHANNELS:
        # Given a client in a channel of that name
        nickname = f"jane-{uuid.uuid4().hex[:8]}"
        client = await join(name, nickname=nickname)

        # When a bot PUTs a text there
        response = await rest.put_text(name, sample("text", text=(text := words())))

        # Then clients receive it, and it is in all of the channel's endpoints
        assert response.code == 200
        await client.until(type="text", text=text)
        assert text in [message["text"] for message in await rest.last(name) if message["type"] == "text"]
        assert nickname in await rest.users(name)
    # A plus in a path is a plus
    assert (await rest.fetch("/channel/R+D/last")).code == 200


async def test_an_unknown_channel_is_not_found(rest: Rest) -> None:
    for name in ("x", "qgis", "Été à la plage", "100%s", "<b>"):
        for method, end in (("GET", "users"), ("GET", "last"), ("PUT", "text")):
            body = json.dumps(sample("text")) if method == "PUT" else None

            response = await rest.fetch(channel_path(name, end), method, body)

            assert response.code == 404
            assert json.loads(response.body) == {"detail": f"Channel '{name}' not registered"}


async def test_a_put_text_is_answered_as_it_was_broadcast(channel: str, join: Join, rest: Rest) -> None:
    # Given clients on both fronts
    clients = [await join(channel, front=front) for front in (0, 1)]
    # When a bot PUTs a text, with all that may be given, or without
    ids = {"id": str(uuid.uuid4()), "in_reply_to_id": str(uuid.uuid4())}
    for given in ({"avatar": ":/bot.svg", "timestamp": 1_700_000_000, **ids}, {"avatar": None}):
        message = sample("text", author="a-bot", text=words(), **given)
        response = await rest.put_text(channel, message)

        # Then the answer is the message that all clients receive, and the message is stored
        assert response.code == 200
        answer = json.loads(response.body)
        check(answer)
        assert answer.items() >= message.items()
        for client in clients:
            assert await client.until(type="text") == answer
        assert (await rest.last(channel))[-1] == answer
    # And a cheat code is not
    assert (await rest.put_text(channel, sample("text", text="wizz"))).code == 200
    assert (await rest.last(channel))[-1] == answer


def _faults(response: HTTPResponse) -> set[tuple[str, ...]]:
    """The location of the error, in the form that clients parse."""
    assert response.code == 422, response.body[:300]
    details = json.loads(response.body)["detail"]
    for detail in details:
        assert set(detail) == {"loc", "msg", "type"}
        assert isinstance(detail["msg"], str)
        assert isinstance(detail["type"], str)
    return {tuple(detail["loc"]) for detail in details}


BROKEN: list[tuple[dict[str, object], str]] = [  # test_messages.py has all others
    ({"author": "ab"}, "author"),
    ({"author": [CANARY]}, "author"),
    ({"text": "x" * 256}, "text"),
    ({"id": "12"}, "id"),
    ({"type": "image"}, "type"),
]
NO_OBJECTS: list[str | bytes] = [
    "",
    CANARY,
    "[]",
    '{"type": "text", "author": "jane", "text": NaN}',
    b'{"type": "text", "author": "jane", "text": "\xff"}',
    "[" * 100_000,
    '{"a":' * 100_000,
]


async def test_an_invalid_put_names_every_fault(channel: str, rest: Rest) -> None:
    for changes, field in BROKEN:
        assert _faults(await rest.put_text(channel, sample("text", **changes))) == {("body", field)}
    many = await rest.put_text(channel, {"type": "text", "author": "a b", "avatar": 1})
    assert _faults(many) == {("body", "author"), ("body", "avatar"), ("body", "text")}
    for body in NO_OBJECTS:
        assert all(location[0] == "body" for location in _faults(await rest.put_text(channel, body))), body[:30]
    assert await rest.last(channel) == []


async def test_the_users_are_the_registered_ones_sorted_in_any_case(
    channel: str, join: Join, rests: list[Rest]
) -> None:
    await join(channel)  # who is not registered
    clients = {
        nickname: await join(channel, front=number % 2, nickname=nickname)
        for number, nickname in enumerate(["bob", "Alice", "carol", "Dave", "ALBERT", "_x_", "123"])
    }
    for rest in rests:
        users = await rest.users(channel)
        assert (users, set(users)) == (sorted(users, key=str.casefold), set(clients))

    # When one leaves
    await clients.pop("bob").leave()
    for rest in rests:
        await eventually(partial(rest.users, channel), [one for one in users if one != "bob"])


async def test_an_address_that_is_not_utf8_is_refused_in_words(channel: str, rest: Rest) -> None:
    for path, part in (("/channel/%ff/last", "path"), (f"/channel/{channel}/events?after=%ff", "parameter 'after'")):
        response = await rest.fetch(path)
        assert (response.code, response.headers["Content-Type"]) == (400, "application/json")
        assert f"{part} is not valid UTF-8" in json.loads(response.body)["detail"]


# Expensive requests


async def raw(front: Front, data: bytes) -> bytes:
    """All that a front answers to these bytes before it closes the connection."""
    reader, writer = await asyncio.open_connection(HOST, front.port)
    writer.write(data)
    try:
        async with asyncio.timeout(DEADLINE):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_request_of_too_many_header_lines_is_refused_before_they_are_parsed(stack: Stack) -> None:
    lines = b"".join(b"a%d: b\r\n" % number for number in range(101))
    answer = await raw(stack.fronts[0], b"GET /version HTTP/1.1\r\nHost: chat\r\n" + lines + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_body_may_come_in_chunks_but_not_in_any_number_of_them(stack: Stack, channel: str) -> None:
    head = f"PUT /channel/{channel}/text HTTP/1.1\r\nHost: chat\r\nTransfer-Encoding: chunked\r\n"
    start = f"{head}Connection: close\r\n\r\n".encode()
    body = json.dumps(sample("text")).encode()
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:])) + b"0\r\n\r\n"

    assert (await raw(stack.fronts[0], start + chunks)).startswith(b"HTTP/1.1 200 ")
    assert await raw(stack.fronts[0], start + b"1\r\n \r\n" * 2000) == b""
