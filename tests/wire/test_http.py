"""The HTTP endpoints."""

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


async def test_version_is_a_version_number(rest: Rest) -> None:
    answer = await rest.get("/version")

    assert set(answer) == {"version"}
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", answer["version"])


async def test_channels_come_in_the_order_of_the_setting(rest: Rest) -> None:
    assert await rest.get("/channels") == NAMED_CHANNELS + FRESH_CHANNELS


async def test_rules_tell_the_limits_that_clients_need(rest: Rest) -> None:
    assert await rest.get("/rules") == {
        "rules": "Be kind.",
        "main_lang": "en",
        "min_author_length": 3,
        "max_author_length": 32,
        "max_message_length": 255,
        "max_image_size": 800,
        "max_geojson_features": 500,
    }


async def test_status_counts_the_channels_people_over_all_fronts(channel: str, join: Join, rests: list[Rest]) -> None:
    clients = [await join(channel, front=front) for front in (0, 0, 1)]

    await clients[0].count(3)

    for rest in rests:
        status = await rest.get("/status")
        assert set(status) == {"status", "healthy", "channels"}
        assert (status["status"], status["healthy"]) == ("ok", True)
        assert [entry["name"] for entry in status["channels"]] == NAMED_CHANNELS + FRESH_CHANNELS
        assert {"name": channel, "nb_connected_users": 3} in status["channels"]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_every_front_says_that_it_is_alive_and_ready(path: str, rests: list[Rest]) -> None:
    for rest in rests:
        assert (await rest.fetch(path)).code == 200


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_and_all_of_its_assets_come_from_us(path: str, rest: Rest) -> None:
    page = await rest.fetch(path)

    assert page.code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assets = re.findall(r"""(?:src|href)=["']([^"'#]+)["']""", page.body.decode())
    assert assets
    for asset in assets:
        assert not re.match(r"(https?:)?//", asset), f"{asset} is not ours"
        if not asset.startswith("data:"):
            assert (await rest.fetch("/" + asset.removeprefix(".").removeprefix("/"))).code == 200, asset


async def test_the_openapi_document_names_every_endpoint(rest: Rest) -> None:
    document = await rest.get("/openapi.json")

    assert document["openapi"].startswith("3.")
    documented = {(method, path) for path, item in document["paths"].items() for method in item}
    assert documented >= {
        ("get", "/version"),
        ("get", "/channels"),
        ("get", "/rules"),
        ("get", "/status"),
        ("get", "/channel/{channel}/users"),
        ("get", "/channel/{channel}/last"),
        ("put", "/channel/{channel}/text"),
    }


async def test_query_strings_change_nothing(rest: Rest, channel: str) -> None:
    assert await rest.get("/channels?since=1&x=%20y") == await rest.get("/channels")
    assert await rest.get(channel_path(channel, "users") + "?a=b") == []
    assert await rest.get(channel_path(channel, "last") + "?") == []


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


async def test_a_plus_in_a_path_is_a_plus(rest: Rest) -> None:
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

    # When a bot PUTs a text
    response = await rest.put_text(channel, {"type": "text", "author": "a-bot", "text": (text := words())})

    # Then the answer is the message that all clients receive, and the message is stored
    assert response.code == 200
    answer = json.loads(response.body)
    check(answer)
    assert (answer["author"], answer["avatar"], answer["text"]) == ("a-bot", None, text)
    for client in clients:
        assert await client.until(type="text") == answer
    assert await rest.last(channel) == [answer]


async def test_a_put_text_keeps_what_the_bot_gave(channel: str, rest: Rest) -> None:
    body = sample(
        "text", id=str(uuid.uuid4()), timestamp=1_700_000_000, avatar=":/bot.svg", in_reply_to_id=str(uuid.uuid4())
    )

    response = await rest.put_text(channel, body)

    assert json.loads(response.body) == body


async def test_a_put_cheat_code_is_not_stored(channel: str, rest: Rest) -> None:
    response = await rest.put_text(channel, sample("text", text="wizz"))

    assert response.code == 200
    assert await rest.last(channel) == []


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


async def test_a_put_text_with_a_broken_field_names_it(channel: str, rest: Rest) -> None:
    for changes, field in BROKEN:
        response = await rest.put_text(channel, sample("text", **changes))

        assert _faults(response) == {("body", field)}
    assert await rest.last(channel) == []


async def test_a_put_text_names_every_broken_field(channel: str, rest: Rest) -> None:
    response = await rest.put_text(channel, {"type": "text", "author": "a b", "avatar": 1})

    assert _faults(response) == {("body", "author"), ("body", "avatar"), ("body", "text")}


NO_OBJECTS: list[str | bytes] = [
    "",
    CANARY,
    "[]",
    '{"type": "text", "author": "jane", "text": NaN}',
    b'{"type": "text", "author": "jane", "text": "\xff"}',
    "[" * 100_000,
    '{"a":' * 100_000,
]


async def test_a_put_that_is_no_json_object_is_refused(channel: str, rest: Rest) -> None:
    for body in NO_OBJECTS:
        response = await rest.put_text(channel, body)

        assert all(location[0] == "body" for location in _faults(response)), body[:30]
    assert await rest.last(channel) == []


async def test_nicknames_are_sorted_whatever_their_case(channel: str, join: Join, rests: list[Rest]) -> None:
    for number, nickname in enumerate(["bob", "Alice", "carol", "Dave", "ALBERT", "_x_", "123"]):
        await join(channel, front=number % 2, nickname=nickname)

    for rest in rests:
        users = await rest.users(channel)
        assert users == sorted(users, key=str.casefold)
        assert set(users) == {"bob", "Alice", "carol", "Dave", "ALBERT", "_x_", "123"}


async def test_the_users_of_a_channel_are_the_registered_ones(channel: str, join: Join, rests: list[Rest]) -> None:
    # Given a registered client, and one that is not
    await join(channel)
    jane = await join(channel, front=1, nickname="jane")
    for rest in rests:
        assert await rest.users(channel) == ["jane"]

    # When she leaves, nobody is left in the list
    await jane.leave()
    for rest in rests:
        await eventually(partial(rest.users, channel), [])


async def test_a_web_page_finds_where_to_connect(stack: Stack, rest: Rest) -> None:
    """The page must use the address from which it was loaded, which alone is right behind a proxy."""
    page = (await rest.fetch("/")).body.decode()

    assert str(stack.fronts[0].port) not in page
    assert "localhost" not in page


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


async def test_a_body_may_come_in_chunks_but_not_in_any_number_of_them(stack: Stack, channel: str, join: Join) -> None:
    head = f"PUT /channel/{channel}/text HTTP/1.1\r\nHost: chat\r\nTransfer-Encoding: chunked\r\n"
    start = f"{head}Connection: close\r\n\r\n".encode()
    body = json.dumps(sample("text")).encode()
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:])) + b"0\r\n\r\n"

    assert (await raw(stack.fronts[0], start + chunks)).startswith(b"HTTP/1.1 200 ")
    assert await raw(stack.fronts[0], start + b"1\r\n \r\n" * 2000) == b""
