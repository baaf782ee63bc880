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

READ = ["/version", "/channels", "/rules", "/status", "/map", "/openapi.json"]
READ += [f"/channel/QGIS/{end}" for end in ("users", "last", "features.geojson", "features.geojson?type=bbox")]
NOT_FOR_OTHERS = ["/", "/web/chat.js", "/livez", "/readyz"]
EVERYTHING = [*READ, *NOT_FOR_OTHERS, "/docs", "/docs/swagger-ui-bundle.js"]
EVERYTHING += ["/nowhere", "/web/nothing.js", "/channel/nowhere/last", "/channel/QGIS/ws"]


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
    for method, status in (("POST", 405), ("PATCH", 405), ("PUT", 422)):
        answer = await rest.fetch("/channel/QGIS/text", method, "x")
        assert answer.code == status
        assert (answer.headers["X-Content-Type-Options"], answer.headers["Server"]) == ("nosniff", "gischat")


async def test_only_an_operators_own_tiles_may_come_from_elsewhere(rest: Rest, house: Rest) -> None:
    for path in ("/", "/web/chat.js"):
        assert "tiles" not in (await rest.fetch(path)).headers["Content-Security-Policy"]
        policy = (await house.fetch(path)).headers["Content-Security-Policy"]
        assert "; img-src https://*.tiles.example.org 'self' data: blob:; connect-src 'self'; " in policy
    code = "/web/built/map.js"
    assert await rest.get("/map") == {"code": code, "tiles": None, "attribution": ""}
    assert await house.get("/map") == {"code": code, "tiles": TILES, "attribution": "Ours"}


# {host} is our own
FORGED = [
    "",
    EVIL,
    "http://{host}.evil.example",
    "http://evil.example/{host}",
    "http://evil.example@{host}",
    "http://{host}@evil.example",
    "http://{host}#.evil.example",
    "http://{host}\\.evil.example",
    "http://{host}, http://evil.example",
    "http://{host} http://evil.example",
    "https://127.0.0.1:1",
    "ftp://{host}",
    "file://",
    "null",
    "http://[",
    "http://[::ffff]:x",
    "http://" + "a" * 4000,
    "\x80\xff",
]


async def test_no_page_of_another_site_can_read_or_write(stack: Stack, channel: str, join: Join, rest: Rest) -> None:
    for path in READ:
        for origin in (EVIL, "null", "http://["):
            headers = (await rest.fetch(path, Origin=origin)).headers
            assert [name for name in headers if name.startswith("Access-Control")] == [], path
            assert headers["Vary"] == "Origin"
    client = await join(channel)
    for forged in FORGED:
        origin = forged.format(host=rest.base_url.removeprefix("http://"))
        answer = await rest.fetch(channel_path(channel, "text"), "PUT", json.dumps(sample("text")), Origin=origin)
        assert (answer.code, "ALLOWED_ORIGINS" in json.loads(answer.body)["detail"]) == (403, True), origin
        with pytest.raises(InvalidStatus, match="403"):
            await Client.connect(stack.fronts[0].url, channel, origin=origin)
    await client.nothing_before(await client.say())
    await client.count(1)


async def test_a_page_of_an_allowed_site_can_read_what_is_not_the_operators(house: Rest) -> None:
    for path in (*READ, "/channel/nowhere/last"):  # errors, too
        headers = (await house.fetch(path, Origin=MAPS)).headers
        assert headers["Access-Control-Allow-Origin"] == MAPS, path
        assert headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Credentials" not in headers
        assert "Access-Control-Allow-Origin" not in (await house.fetch(path, Origin=EVIL)).headers, path
    for path in NOT_FOR_OTHERS:
        assert "Access-Control-Allow-Origin" not in (await house.fetch(path, Origin=MAPS)).headers, path


async def test_a_preflight_request_is_answered(house: Rest) -> None:
    for path, method in [*((path, "GET") for path in READ), ("/channel/QGIS/text", "PUT")]:
        headers = {"Access_Control_Request_Method": method, "Access_Control_Request_Headers": "authorization"}
        answer = await house.fetch(path, "OPTIONS", Origin=MAPS, **headers)
        assert (answer.code, answer.body) == (204, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == MAPS
        assert answer.headers["Access-Control-Allow-Methods"] == method
        assert answer.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type, Last-Event-ID"
        assert int(answer.headers["Access-Control-Max-Age"]) > 0

        refused = await house.fetch(path, "OPTIONS", Origin=EVIL, **headers)
        assert (refused.code, "Access-Control-Allow-Origin" in refused.headers) == (403, False)


async def test_our_own_page_and_one_of_an_allowed_site_put_texts_and_join(house: Rest, open_house: Stack) -> None:
    url = open_house.fronts[0].url
    for origin in (url, MAPS):
        body = json.dumps({"author": "jane", "text": words()})
        assert (await house.fetch("/channel/QGIS/text", "PUT", body, Origin=origin)).code == 200
    # A proxy forwards the Host that the browser requested, under https; QGIS has no origin
    clients = [await Client.connect(url, "QGIS", origin=origin) for origin in (MAPS, url, None)]
    forwarded = {"Origin": url.replace("http", "https")}
    clients.append(await Client.connect(url, "QGIS", additional_headers=forwarded))
    text = await clients[-1].say()
    for client in clients:
        await client.until(text=text)
    await asyncio.gather(*(client.leave() for client in clients))

    with pytest.raises(InvalidStatus) as refused:
        await Client.connect(url, "QGIS", origin=EVIL)
    response = refused.value.response
    assert response.status_code == 403
    assert response.headers["Content-Type"].startswith("application/json")
    assert "ALLOWED_ORIGINS" in json.loads(response.body)["detail"]
