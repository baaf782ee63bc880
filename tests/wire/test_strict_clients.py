"""What the QGIS plugin compares byte by byte: it uses Qt's network classes, and fails if anything differs."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from email.message import Message
from typing import NamedTuple

import pytest

from gischat.diagnostics.address import HANDSHAKE
from gischat.front.descriptions.paths import PATHS
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.processes import HOST, Stack
from tests.support.rest import Rest, channel_path
from tests.wire.conftest import Join

Ask = Callable[..., "Answer"]

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
def ask(stack: Stack) -> Iterator[Ask]:
    """Requests to the first front, over one connection: `ask("GET", path, body, headers={…})`."""
    connection = http.client.HTTPConnection(HOST, stack.fronts[0].port, timeout=30)

    def ask(method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        data = answer.read()
        if answer.will_close or answer.status >= 400:
            connection.close()  # the next request opens a new one
        return Answer(answer.status, answer.headers, data)

    yield ask
    connection.close()


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes

    @property
    def types(self) -> list[str]:
        return self.headers.get_all("Content-Type", [])

    def lasting(self, *changing: str) -> dict[str, str]:
        """The headers that another answer has, too."""
        left_out = {"date", "x-request-id", *changing}
        return {name: value for name, value in self.headers.items() if name.lower() not in left_out}


def test_data_is_of_exactly_this_type(ask: Ask) -> None:
    for path in DATA:
        answer = ask("GET", path)
        assert (answer.status, answer.types) == (200, [TYPES.get(path, "application/json")]), path
        assert answer.headers["Content-Encoding"] is None
        json.loads(answer.body)


def test_errors_are_of_exactly_this_type(ask: Ask) -> None:
    for method, path, body, status in ERRORS:
        answer = ask(method, path, body)
        assert (answer.status, answer.types) == (status, ["application/json"]), (method, path)
        json.loads(answer.body)
    # Failed handshakes, too
    for headers in (
        {},
        {"Connection": "Upgrade"},
        {"Connection": "Upgrade", "Sec_WebSocket_Version": "13"},
        {"Connection": "Upgrade", "Sec_WebSocket_Version": "99"},
        {"Connection": "Upgrade", "Sec_Fetch_Site": "cross-site"},
        {"Connection": "Upgrade", "Origin": "https://elsewhere.example.org"},
    ):
        answer = ask("GET", "/channel/QGIS/ws", Upgrade="websocket", **headers)
        assert (answer.status in (400, 403, 426), answer.types) == (True, ["application/json"]), headers
        assert set(json.loads(answer.body)) == {"detail"}


def test_invalid_http_is_answered_without_a_type(stack: Stack) -> None:
    with socket.create_connection((HOST, stack.fronts[0].port), timeout=30) as client:
        client.sendall(b"GET\r\n\r\n")
        answer = client.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"content-type" not in answer.lower()


@pytest.mark.parametrize("version", [10, 11])
def test_the_rules_are_these_bytes(version: int, stack: Stack) -> None:
    """The keys in this order, limits as integers, in any version of HTTP; and the connection can be reused."""
    connection = http.client.HTTPConnection(HOST, stack.fronts[0].port, timeout=30)
    connection._http_vsn, connection._http_vsn_str = version, f"HTTP/1.{version % 10}"  # type: ignore[attr-defined]
    connection.request("GET", "/rules", headers={"Accept-Encoding": "gzip, deflate", "Connection": "keep-alive"})
    answer = connection.getresponse()

    assert (answer.status, answer.read()) == (200, RULES)
    assert int(answer.headers["Content-Length"]) == len(RULES)
    assert answer.headers["Transfer-Encoding"] is None
    assert not answer.will_close
    connection.close()


def test_the_status_is_in_this_order(ask: Ask) -> None:
    body = ask("GET", "/status").body

    assert body.startswith(b'{"status":"ok","healthy":true,"channels":[{"name":"QGIS","nb_connected_users":')
    assert all(type(channel["nb_connected_users"]) is int for channel in json.loads(body)["channels"])


# Addresses with a trailing slash


def test_a_path_may_begin_with_two_slashes(ask: Ask) -> None:
    for path in [*DATA, *PAGES, "/channel/QGIS/ws", "/channel/x/users", "/nowhere"]:
        plain, doubled = ask("GET", path), ask("GET", "/" + path)
        assert (plain.status, plain.types, plain.body) == (doubled.status, doubled.types, doubled.body)
        assert plain.headers["Location"] == doubled.headers["Location"]
    # Operators' paths have one spelling: proxies block them by their exact names
    for path in ("//metrics", "//admin/channels", "///metrics"):
        answer = ask("GET", path)
        assert (answer.status, json.loads(answer.body)) == (404, {"detail": "Not Found"})


async def test_a_path_of_a_channel_may_begin_with_two_slashes(channel: str, stack: Stack, rest: Rest) -> None:
    client = await Client.connect(stack.fronts[0].url + "/", channel)
    answer = await rest.fetch("/" + channel_path(channel, "text"), "PUT", json.dumps(sample("text")))
    assert answer.code == 200
    await client.until(text=json.loads(answer.body)["text"])
    await client.leave()


# Methods


def test_head_is_answered_as_get_but_without_a_body(ask: Ask) -> None:
    for path in (*DATA, *PAGES, "/metrics", "/nowhere", "/channel/x/last"):
        changing = ("etag", "content-length") if path == "/metrics" else ()
        get, head = ask("GET", path), ask("HEAD", path)
        assert (head.status, head.lasting(*changing), head.body) == (get.status, get.lasting(*changing), b""), path


def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(ask: Ask) -> None:
    for path, methods in (
        ("/channels", "GET, HEAD, OPTIONS"),
        ("/livez", "GET, HEAD"),
        ("/", "GET, HEAD"),
        ("/channel/QGIS/users", "GET, HEAD, OPTIONS"),
        (TEXT, "PUT, OPTIONS"),
        ("/channel/QGIS/ws", "GET"),
    ):
        for method in ("DELETE", "BREW"):
            answer = ask(method, path)
            assert (answer.status, answer.headers["Allow"]) == (405, methods)
    answer = ask("HEAD", "/channel/QGIS/ws", **HANDSHAKE)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")


# Repeated requests


@pytest.mark.parametrize("path", ["/channel/QGIS/users", "/status", "/channel/QGIS/last", "/rules"])
def test_an_unchanged_answer_is_not_sent_again(path: str, ask: Ask) -> None:
    etag, body = (first := ask("GET", path)).headers["ETag"], first.body
    assert body
    again = ask("GET", path, If_None_Match=etag)
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    # A handler answers this, and the cache the next: with the same headers
    other = ask("GET", path, If_None_Match='"another"')
    assert (other.status, other.body) == (200, body)
    assert sorted(other.lasting().items()) == sorted(ask("GET", path).lasting().items())
    assert len(other.headers["X-Request-ID"]) == 16


async def test_what_was_published_is_in_the_answers_at_once(channel: str, join: Join, rest: Rest) -> None:
    """Also if others send requests meanwhile."""
    for number in range(10):
        nickname = f"jane-{number}"
        assert await rest.users(channel) == []
        client = await join(channel, nickname=nickname)
        assert await rest.users(channel) == [nickname]
        assert await rest.nb_connected_users(channel) >= 1
        await client.until(text=(text := await client.say()))
        assert (await rest.last(channel))[-1]["text"] == text, number
        await client.send(type="exiter", exiter=nickname)
        await client.until(type="exiter", exiter=nickname)
