"""Security headers: whose pages may read and write, and that answers are not taken for pages or scripts."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop
from websockets.exceptions import InvalidStatus

from tests.conftest import StackFactory
from tests.support.client import Client
from tests.support.contract import sample, words
from tests.support.processes import Stack
from tests.support.rest import Rest, channel_path
from tests.wire.conftest import Join

MAPS = "https://maps.example.org"
EVIL = "https://evil.example"
TILES = "https://{a-c}.tiles.example.org/{z}/{x}/{y}.png"

OF_QGIS = ["users", "last", "features.geojson", "features.geojson?type=bbox"]
READ = ["/version", "/channels", "/rules", "/status", "/map", "/openapi.json"]
READ += [f"/channel/QGIS/{name}" for name in OF_QGIS]
EVERYTHING = [
    *READ,
    "/",
    "/web/chat.js",
    "/web/nothing.js",
    "/docs",
    "/docs/swagger-ui-bundle.js",
    "/livez",
    "/readyz",
    "/nowhere",
    "/channel/nowhere/last",
    "/channel/QGIS/ws",
]


@pytest.fixture(scope="module")
def open_house(open_stack: StackFactory) -> Iterator[Stack]:
    """A front that admits pages of one other site."""
    with open_stack(heavy=0, allowed_origins=MAPS, map_tiles_url=TILES, map_attribution="Ours") as stack:
        yield stack


@pytest.fixture
def house(io_loop: IOLoop, open_house: Stack) -> Iterator[Rest]:
    """HTTP requests to it."""
    client = Rest(open_house.fronts[0].url)
    yield client
    client.close()


# Headers


async def test_every_answer_has_the_security_headers(rest: Rest) -> None:
    for path in EVERYTHING:
        headers = (await rest.fetch(path)).headers

        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, path
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["Server"] == "gischat"
        # Data may load nothing
        assert path not in READ or "'self'" not in policy


async def test_only_an_operators_own_tiles_may_come_from_elsewhere(rest: Rest, house: Rest) -> None:
    for path in ("/", "/web/chat.js"):
        assert "tiles" not in (await rest.fetch(path)).headers["Content-Security-Policy"]
        policy = (await house.fetch(path)).headers["Content-Security-Policy"]
        assert "; img-src https://*.tiles.example.org 'self' data: blob:; connect-src 'self'; " in policy
    assert (await rest.get("/map"), await house.get("/map")) == (
        {"code": "/web/built/map.js", "tiles": None, "attribution": ""},
        {"code": "/web/built/map.js", "tiles": TILES, "attribution": "Ours"},
    )


@pytest.mark.parametrize(("method", "status"), [("POST", 405), ("PATCH", 405), ("PUT", 422)])
async def test_a_refusal_has_the_security_headers(method: str, status: int, rest: Rest) -> None:
    answer = await rest.fetch("/channel/QGIS/text", method, "x")
    assert answer.code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Server"] == "gischat"


# Reading from another site's page


async def test_by_default_no_page_of_another_site_can_read(rest: Rest) -> None:
    for path in READ:
        for origin in (EVIL, "null", "http://["):
            headers = (await rest.fetch(path, Origin=origin)).headers
            assert [name for name in headers if name.startswith("Access-Control")] == [], path
            assert headers["Vary"] == "Origin"


async def test_a_page_of_an_allowed_site_can_read_errors_too(house: Rest) -> None:
    for path in (*READ, "/channel/nowhere/last"):
        headers = (await house.fetch(path, Origin=MAPS)).headers
        assert headers["Access-Control-Allow-Origin"] == MAPS, path
        assert headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Credentials" not in headers

        stranger = (await house.fetch(path, Origin=EVIL)).headers
        assert "Access-Control-Allow-Origin" not in stranger, path


async def test_operators_paths_and_our_page_permit_no_other_sites(house: Rest) -> None:
    for path in ("/livez", "/readyz", "/", "/web/chat.js"):
        assert "Access-Control-Allow-Origin" not in (await house.fetch(path, Origin=MAPS)).headers, path


# Writing from another site's page


@pytest.mark.parametrize(("path", "method"), [*((path, "GET") for path in READ), ("/channel/QGIS/text", "PUT")])
async def test_a_preflight_request_is_answered(path: str, method: str, house: Rest) -> None:
    asked = {"Access_Control_Request_Method": method, "Access_Control_Request_Headers": "authorization,content-type"}
    answer = await house.fetch(path, "OPTIONS", Origin=MAPS, **asked)
    assert (answer.code, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == MAPS
    assert answer.headers["Access-Control-Allow-Methods"] == method
    assert answer.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type, Last-Event-ID"
    assert int(answer.headers["Access-Control-Max-Age"]) > 0

    refused = await house.fetch(path, "OPTIONS", Origin=EVIL, **asked)
    assert refused.code == 403
    assert "Access-Control-Allow-Origin" not in refused.headers


@pytest.mark.parametrize("origin", [EVIL, "null", "http://[", "", "https://127.0.0.1:1"])
async def test_a_page_of_another_site_can_put_nothing(channel: str, origin: str, join: Join, rest: Rest) -> None:
    client = await join(channel)

    answer = await rest.fetch(channel_path(channel, "text"), "PUT", json.dumps(sample("text")), Origin=origin)

    assert answer.code == 403
    assert "ALLOWED_ORIGINS" in json.loads(answer.body)["detail"]
    await client.nothing_before(await client.say())


async def test_our_own_page_and_an_allowed_one_put_texts(house: Rest) -> None:
    for origin in (house.base_url, MAPS):
        body = json.dumps({"author": "jane", "text": words()})
        assert (await house.fetch("/channel/QGIS/text", "PUT", body, Origin=origin)).code == 200


async def test_a_page_of_an_allowed_site_joins_and_others_are_told_why_not(open_house: Stack) -> None:
    url = open_house.fronts[0].url
    clients = [await Client.connect(url, "QGIS", origin=origin) for origin in (MAPS, url, None)]
    text = await clients[0].say()
    for client in clients:
        await client.until(text=text)
    await asyncio.gather(*(client.leave() for client in clients))

    with pytest.raises(InvalidStatus) as refused:
        await Client.connect(url, "QGIS", origin=EVIL)
    response = refused.value.response
    assert response.status_code == 403
    assert response.headers["Content-Type"].startswith("application/json")
    assert "ALLOWED_ORIGINS" in json.loads(response.body)["detail"]
