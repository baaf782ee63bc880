"""What the QGIS plugin compares byte by byte: it asks over Qt's network classes, and raises when anything differs."""

import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from gischat.front.handlers.openapi import PATHS
from tests.support.contract import sample
from tests.support.processes import HOST, Stack
from tests.support.rest import channel_path

GETS = [path.replace("{channel}", "QGIS") for path, item in PATHS.items() if "get" in item]
DATA = [path for path in GETS if path not in ("/metrics", "/channel/QGIS/ws")] + ["/openapi.json"]
TEXT = channel_path("QGIS", "text")

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
    """A connection to the first front that shows what came."""
    connection = http.client.HTTPConnection(HOST, stack.fronts[0].port, timeout=30)
    yield connection
    connection.close()


def content_types(answer: http.client.HTTPResponse) -> list[str]:
    return answer.headers.get_all("Content-Type", [])


@pytest.mark.parametrize("path", DATA)
def test_data_is_of_exactly_this_type(path: str, connection: http.client.HTTPConnection) -> None:
    connection.request("GET", path)
    answer = connection.getresponse()

    assert (answer.status, content_types(answer)) == (200, ["application/json"])
    assert answer.headers["Content-Encoding"] is None
    json.loads(answer.read())


@pytest.mark.parametrize(("method", "path", "body", "status"), ERRORS)
def test_so_is_what_went_wrong(
    method: str, path: str, body: str | None, status: int, connection: http.client.HTTPConnection
) -> None:
    connection.request(method, path, body)
    answer = connection.getresponse()

    assert (answer.status, content_types(answer)) == (status, ["application/json"])
    json.loads(answer.read())


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "websocket"},
        {"Upgrade": "websocket", "Connection": "Upgrade"},
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"},
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "99"},
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-Fetch-Site": "cross-site"},
        {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": "https://elsewhere.example.org"},
    ],
    ids=str,
)
def test_a_handshake_that_fails_is_answered_so_too(
    headers: dict[str, str], connection: http.client.HTTPConnection
) -> None:
    connection.request("GET", channel_path("QGIS", "ws"), headers=headers)
    answer = connection.getresponse()

    assert (answer.status in (400, 403, 426), content_types(answer)) == (True, ["application/json"])
    assert set(json.loads(answer.read())) == {"detail"}


def test_what_is_no_http_is_answered_without_any_type(stack: Stack) -> None:
    with socket.create_connection((HOST, stack.fronts[0].port), timeout=30) as client:
        client.sendall(b"GET\r\n\r\n")
        answer = client.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"content-type" not in answer.lower()


@pytest.mark.parametrize("version", [10, 11])
def test_the_rules_are_these_bytes(version: int, connection: http.client.HTTPConnection) -> None:
    """In this order, limits as integers, whatever version of HTTP somebody speaks; and the connection serves again."""
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
