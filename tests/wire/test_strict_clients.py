"""What the QGIS plugin compares byte by byte: it uses Qt's network classes, and fails if anything differs."""

import http.client
import json
import socket
import uuid
from collections.abc import Iterator

import pytest

from gischat.diagnostics.address import HANDSHAKE
from gischat.front.descriptions.paths import PATHS
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.processes import HOST, Stack
from tests.support.rest import Rest, channel_path
from tests.wire.conftest import Join

GETS = [path.replace("{channel}", "QGIS") for path, item in PATHS.items() if "get" in item and "{id}" not in path]
TYPES = {"/channel/QGIS/features.geojson": "application/geo+json"}  # all others must be what QGIS expects
NO_JSON = ("/metrics", "/qfield", "/channel/QGIS/ws", "/channel/QGIS/events")  # the last two never end
DATA = [path for path in GETS if path not in NO_JSON] + ["/openapi.json", "/asyncapi.json"]
TEXT = channel_path("QGIS", "text")
PAGES = ["/", "/docs", "/web/chat.js", "/qfield"]

RULES = (
    b'{"rules":"Be kind.","main_lang":"en","min_author_length":3,"max_author_length":32,"max_message_length":255,'
    b'"max_image_size":800,"max_geojson_features":500}'
)

# Method, path, body, status
ERRORS = [
    ("GET", "/nowhere", None, 404),
    ("GET", "/web/nowhere.js", None, 404),
    ("GET", "/web/../../etc/passwd", None, 403),
    ("GET", "/channel/x/users", None, 404),
    ("GET", "/channel/QGIS/last?x=%ff", None, 200),
    ("GET", "/channel/QGIS/ws", None, 400),
    ("POST", "/channel/QGIS/ws", "", 405),
    ("POST", "/channels", "", 405),
    ("POST", "/", "", 405),
    ("BREW", "/channels", None, 405),
    ("BREW", "/", None, 405),
    ("PUT", TEXT, "x", 422),
    ("PUT", "/channel/x/text", "x", 404),
    ("PUT", TEXT, json.dumps(sample("text")), 200),
]


@pytest.fixture
def connection(stack: Stack) -> Iterator[http.client.HTTPConnection]:
    """A connection to the first front that records the bytes received."""
    connection = http.client.HTTPConnection(HOST, stack.fronts[0].port, timeout=30)
    yield connection
    connection.close()


def content_types(answer: http.client.HTTPResponse) -> list[str]:
    return answer.headers.get_all("Content-Type", [])


def test_data_is_of_exactly_this_type(connection: http.client.HTTPConnection) -> None:
    for path in DATA:
        connection.request("GET", path)
        answer = connection.getresponse()

        assert (answer.status, content_types(answer)) == (200, [TYPES.get(path, "application/json")]), path
        assert answer.headers["Content-Encoding"] is None
        json.loads(answer.read())


def test_errors_are_of_exactly_this_type(connection: http.client.HTTPConnection) -> None:
    for method, path, body, status in ERRORS:
        connection.request(method, path, body)
        answer = connection.getresponse()

        assert (answer.status, content_types(answer)) == (status, ["application/json"]), (method, path)
        json.loads(answer.read())
        connection.close()  # the next request opens a new one


HANDSHAKES = [
    {"Upgrade": "websocket"},
    {"Upgrade": "websocket", "Connection": "Upgrade"},
    {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"},
    {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "99"},
    {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-Fetch-Site": "cross-site"},
    {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": "https://elsewhere.example.org"},
]


def test_a_failed_handshake_is_answered_with_this_type(connection: http.client.HTTPConnection) -> None:
    for headers in HANDSHAKES:
        connection.request("GET", channel_path("QGIS", "ws"), headers=headers)
        answer = connection.getresponse()

        assert (answer.status in (400, 403, 426), content_types(answer)) == (True, ["application/json"]), headers
        assert set(json.loads(answer.read())) == {"detail"}
        connection.close()


def test_invalid_http_is_answered_without_a_type(stack: Stack) -> None:
    with socket.create_connection((HOST, stack.fronts[0].port), timeout=30) as client:
        client.sendall(b"GET\r\n\r\n")
        answer = client.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"content-type" not in answer.lower()


@pytest.mark.parametrize("version", [10, 11])
def test_the_rules_are_these_bytes(version: int, connection: http.client.HTTPConnection) -> None:
    """The keys in this order, limits as integers, in any version of HTTP; and the connection can be reused."""
    connection._http_vsn, connection._http_vsn_str = version, f"HTTP/1.{version % 10}"  # type: ignore[attr-defined]
    connection.request("GET", "/rules", headers={"Accept-Encoding": "gzip, deflate", "Connection": "keep-alive"})
    answer = connection.getresponse()

    assert (answer.status, answer.read()) == (200, RULES)
    assert int(answer.headers["Content-Length"]) == len(RULES)
    assert answer.headers["Transfer-Encoding"] is None
    assert not answer.will_close


def test_the_status_is_in_this_order(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/status")
    body = connection.getresponse().read()

    assert body.startswith(b'{"status":"ok","healthy":true,"channels":[{"name":"QGIS","nb_connected_users":')
    assert all(type(channel["nb_connected_users"]) is int for channel in json.loads(body)["channels"])


# Addresses with a trailing slash


@pytest.mark.parametrize("path", [*DATA, *PAGES, "/channel/QGIS/ws", "/channel/x/users", "/nowhere"])
def test_a_path_may_begin_with_two_slashes(path: str, connection: http.client.HTTPConnection) -> None:
    answers = []
    for asked in (path, "/" + path):
        connection.request("GET", asked)
        answer = connection.getresponse()
        answers.append((answer.status, content_types(answer), answer.headers["Location"], answer.read()))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("path", ["//metrics", "//admin/channels", "///metrics"])
def test_operators_paths_have_one_spelling(path: str, connection: http.client.HTTPConnection) -> None:
    """Proxies block these paths by their exact names."""
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (404, {"detail": "Not Found"})


async def test_a_path_of_a_channel_may_begin_with_two_slashes(channel: str, stack: Stack, rest: Rest) -> None:
    client = await Client.connect(stack.fronts[0].url + "/", channel)
    answer = await rest.fetch("/" + channel_path(channel, "text"), "PUT", json.dumps(sample("text")))
    assert answer.code == 200
    await client.until(text=json.loads(answer.body)["text"])
    await client.leave()


# Methods


def test_head_is_answered_as_get_but_without_a_body(connection: http.client.HTTPConnection) -> None:
    for path in (*DATA, *PAGES, "/metrics", "/nowhere", "/channel/x/last"):
        told = []
        for method in ("GET", "HEAD"):
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
            assert method == "GET" or body == b""
            changing = ("date", "x-request-id", *(("etag", "content-length") if path == "/metrics" else ()))
            told.append(
                (answer.status, {name: value for name, value in answer.headers.items() if name.lower() not in changing})
            )
        assert told[0] == told[1], path
        connection.close()


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/channels", "GET, HEAD, OPTIONS"),
        ("/livez", "GET, HEAD"),
        ("/", "GET, HEAD"),
        ("/channel/QGIS/users", "GET, HEAD, OPTIONS"),
        (TEXT, "PUT, OPTIONS"),
        ("/channel/QGIS/ws", "GET"),
    ],
)
@pytest.mark.parametrize("method", ["DELETE", "BREW"])
def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(
    method: str, path: str, methods: str, connection: http.client.HTTPConnection
) -> None:
    connection.request(method, path)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Allow"]) == (405, methods)
    answer.read()


def test_a_websocket_is_not_opened_by_head(connection: http.client.HTTPConnection) -> None:
    connection.request("HEAD", "/channel/QGIS/ws", headers=HANDSHAKE)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")


# Repeated requests


@pytest.mark.parametrize("path", ["/channel/QGIS/users", "/status", "/channel/QGIS/last", "/rules"])
def test_an_unchanged_answer_is_not_sent_again(path: str, connection: http.client.HTTPConnection) -> None:
    connection.request("GET", path)
    answer = connection.getresponse()
    etag, body = answer.headers["ETag"], answer.read()
    assert body

    connection.request("GET", path, headers={"If-None-Match": etag})
    answer = connection.getresponse()
    assert (answer.status, answer.read(), answer.headers["ETag"]) == (304, b"", etag)

    connection.request("GET", path, headers={"If-None-Match": '"another"'})
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, body)


@pytest.mark.parametrize("path", ["/channel/QGIS/users", "/status"])
def test_a_cached_answer_has_the_same_headers(path: str, connection: http.client.HTTPConnection) -> None:
    told = []
    for headers in ({"If-None-Match": '"another"'}, {}):  # a handler answers the first request, the cache the second
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        changing = ("date", "x-request-id")
        told.append(sorted((name, value) for name, value in answer.headers.items() if name.lower() not in changing))
        assert len(answer.headers["X-Request-ID"]) == 16
    assert told[0] == told[1]


async def test_a_registered_client_is_in_the_list_at_once(channel: str, join: Join, rest: Rest) -> None:
    """Also if others send requests meanwhile."""
    for number in range(10):
        assert f"jane-{number}" not in await rest.users(channel)
        client = await join(channel, nickname=f"jane-{number}")
        assert f"jane-{number}" in await rest.users(channel)
        assert await rest.nb_connected_users(channel) >= 1
        await client.send(type="exiter", exiter=f"jane-{number}")
        await client.until(type="exiter", exiter=f"jane-{number}")
        assert await rest.users(channel) == []


async def test_a_sent_text_is_in_the_history_at_once(channel: str, join: Join, rest: Rest) -> None:
    client = await join(channel)
    for number in range(10):
        await client.say(text := str(uuid.uuid4()))
        await client.until(text=text)
        assert (await rest.last(channel))[-1]["text"] == text, number
