"""Our site file in a real nginx before two real fronts, as if they were on two hosts."""

import asyncio
import http.client
import json
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from gischat.diagnostics.address import UPGRADE, check_address
from gischat.diagnostics.findings import Level
from gischat.front.auth.origins import FORWARD_HOST_HINT
from gischat.supervision.nginx_site import idle_timeout
from tests.deploy.nginx import NAME, Nginx, Site, executable, site
from tests.support.client import Client
from tests.support.events import EventsReader
from tests.support.processes import HOST, Front, Port, Stack
from tests.support.settings import settings

FRAME_SIZE = 20_000  # bytes
BODY_SIZE = settings().max_body_size
ELSEWHERE = "127.0.0.9"  # an address of this machine that only these tests use

StackFactory = Callable[..., Stack]


@pytest.fixture(scope="module")
def stack(open_stack: StackFactory) -> Iterator[Stack]:
    """Two fronts on two ports, which trust proxies on this machine's first address."""
    with open_stack(fronts=2, heavy=0, max_frame_size=FRAME_SIZE, trusted_proxies=HOST) as stack:
        yield stack


@pytest.fixture(scope="module")
def nginx(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    fronts = [f"{HOST}:{front.port}" for front in stack.fronts]
    with Site(tmp_path_factory.mktemp("nginx"), fronts, MAX_FRAME_SIZE=str(FRAME_SIZE)) as nginx:
        yield nginx


@asynccontextmanager
async def joined(nginx: Site, **options: Any) -> AsyncIterator[Client]:
    client = await Client.connect(nginx.url, "QGIS", ssl=nginx.trusting, **options)
    try:
        yield client
    finally:
        await client.leave()


async def test_clients_of_different_fronts_can_chat(stack: Stack, nginx: Site) -> None:
    # Given two clients, which least_conn sends to two fronts
    async with joined(nginx) as jane, joined(nginx) as john:
        # When one sends a text, both receive it
        text = await jane.say()
        await john.until(text=text)
        await jane.until(text=text)

        # And other endpoints answer over HTTPS
        status, body = nginx.get("/channels")
        assert (status, json.loads(body)) == (200, ["QGIS", "Geotribu"])


async def test_fronts_and_nginx_log_the_clients_address_and_no_token(stack: Stack, nginx: Site) -> None:
    # Given a client with its own address, which claims another one
    forged = {"additional_headers": {"X-Forwarded-For": "192.0.2.66"}}
    async with joined(nginx, local_addr=(ELSEWHERE, 0), query="?token=Sesame", **forged) as client:
        await client.say()
    for mistyped in ("/hooks", "//hooks", "/Hooks", "/elsewhere/hooks/"):
        assert nginx.get(f"{mistyped}/Sesame-0123456789")[0] == 404
        assert nginx.get("/k/Sesame/rules?Sesame")[0] == 401

    # Then a front and nginx have logged its address, and nothing of the query
    def lines() -> str:
        return "".join(front.new_log() for front in stack.fronts) + nginx.access_log.read_text()

    async with asyncio.timeout(10):
        while lines().count(ELSEWHERE) < 2:
            await asyncio.sleep(0.02)
    assert "192.0.2.66" not in lines()
    assert "Sesame" not in lines()
    assert f"{ELSEWHERE} [" in nginx.access_log.read_text()
    assert " GET /channel/QGIS/ws 101 " in nginx.access_log.read_text()
    assert " GET /k/.../rules 401 " in nginx.access_log.read_text()


async def test_an_event_stream_is_neither_delayed_nor_compressed(nginx: Site, tmp_path: Path) -> None:
    nginx.authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    trust = ("--cacert", str(tmp_path / "authority.pem"))
    reader = await EventsReader.open(nginx.url + "/channel/QGIS/events", "--compressed", *trust)
    assert "content-encoding" not in reader.head.lower()
    async with joined(nginx) as jane:
        for _ in range(2):
            await reader.until(text=await jane.say())
    await reader.leave()


async def test_a_browser_can_join_from_our_page_only(nginx: Site) -> None:
    # A browser with the page of this nginx may join, one with another site's page may not
    async with joined(nginx, origin=nginx.url) as browser:
        await browser.say()
    with pytest.raises(InvalidStatus, match="403"):
        await Client.connect(nginx.url, "QGIS", ssl=nginx.trusting, origin="https://elsewhere.example.org")


async def test_clients_of_a_stopped_front_move_to_the_other_without_errors(stack: Stack, nginx: Site) -> None:
    async with joined(nginx) as first, joined(nginx) as second:
        stopped = stack.fronts[0]
        stopping = asyncio.create_task(stopped.stopped())

        # When a front is stopped, all requests meanwhile are answered
        statuses = []
        while not stopping.done():
            statuses += [(await asyncio.to_thread(nginx.get, "/version"))[0]]
        assert await stopping == 0
        assert set(statuses) == {200}

        # Then one client was told to reconnect, and the other notices nothing
        moved, stayed = (first, second) if first.connection.close_code else (second, first)
        assert await moved.closed() == (1001, "The server is about to restart.")

        # And a reconnecting client is served at once
        async with joined(nginx) as again:
            text = await again.say()
            await stayed.until(text=text)
    stopped.start()
    stack.wait_healthy(stopped)


@pytest.mark.parametrize("path", ["/channels", "/rules", "/status", "/channel/QGIS/users", "/channel/x/users"])
def test_data_has_the_type_that_qgis_requires(nginx: Site, path: str) -> None:
    _, headers, body = nginx.ask(path)

    assert headers.get_all("Content-Type") == ["application/json"]
    json.loads(body)


def test_without_fronts_nginx_answers_in_json(tmp_path: Path) -> None:
    nobody = Port()
    with Site(tmp_path, [f"{HOST}:{nobody.number}"]) as nginx:
        status, headers, body = nginx.ask("/channels")
        assert (status, headers.get_all("Content-Type")) == (502, ["application/json"])
        assert set(json.loads(body)) == {"detail"}


async def test_its_size_limits_are_those_of_fronts(stack: Stack, nginx: Site) -> None:
    path = "/channel/QGIS/text"

    # When a body has the maximum size, the front reads it
    status, body = nginx.get(path, method="PUT", body=b" " * BODY_SIZE)
    assert (status, list(json.loads(body))) == (422, ["detail"])
    # When it is larger, nginx refuses it
    status, headers, body = nginx.ask(path, method="PUT", body=b" " * (BODY_SIZE + 1))
    assert (status, headers.get_all("Content-Type"), list(json.loads(body))) == (413, ["application/json"], ["detail"])

    # When a frame has the maximum size, the front reads it; the front refuses a larger one, as without nginx
    async with joined(nginx) as client:
        await client.send_raw(" " * FRAME_SIZE)
        await client.refusal()
        await client.send_raw(" " * (FRAME_SIZE + 1))
        assert "MB" in await client.refusal()


@pytest.mark.parametrize("path", ["/metrics", "/admin", "/admin/channels", "//metrics", "/%6detrics", "/x/../admin/x"])
def test_operators_endpoints_are_not_public(nginx: Site, path: str) -> None:
    status, body = nginx.get(path)
    assert (status, b"<center>nginx" in body) == (404, True)


def test_plain_http_redirects_to_https_except_for_certbot(nginx: Site) -> None:
    (nginx.webroot / ".well-known/acme-challenge").mkdir(parents=True)
    (nginx.webroot / ".well-known/acme-challenge/question").write_text("answer")
    connection = http.client.HTTPConnection(HOST, nginx.http_port, timeout=10)

    connection.request("GET", "/.well-known/acme-challenge/question")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"answer")

    connection.request("GET", "/channel/QGIS/last?after=x")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, f"{nginx.url}/channel/QGIS/last?after=x")
    connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_current_tls_versions_work(nginx: Site, version: ssl.TLSVersion) -> None:
    context = nginx.trusting
    context.minimum_version = context.maximum_version = version
    connection = http.client.HTTPSConnection(NAME, nginx.https_port, timeout=10, context=context)
    connection.request("GET", "/version")
    answer = connection.getresponse()
    assert answer.status == 200
    assert "max-age=63072000" in answer.headers["Strict-Transport-Security"]
    connection.close()


# --- other files


# What the original project tells operators to write. It forwards nothing of the request's address.
OF_THE_ORIGINAL = """
server {{
    listen {port};
    location / {{
        proxy_pass http://{front};
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
        {more}
    }}
}}
"""


@contextmanager
def behind_the_originals(front: Front, directory: Path, more: str = "", *, without: str = " ") -> Iterator[Nginx]:
    port = Port()
    written = OF_THE_ORIGINAL.format(port=port.number, front=f"{HOST}:{front.port}", more=more).replace(without, " ")
    with Nginx(directory, written, port) as nginx:
        yield nginx


async def join_as_page(nginx: Nginx) -> None:
    client = await Client.connect(nginx.url, "QGIS", origin="https://chat.example.org")
    await client.say()
    await client.leave()


async def test_with_the_originals_file_qgis_works_and_the_log_says_what_the_page_needs(
    start_stack: StackFactory, tmp_path: Path
) -> None:
    front = start_stack(heavy=0, trusted_proxies=HOST).fronts[0]

    with behind_the_originals(front, tmp_path) as nginx:
        # QGIS and QField send no Origin
        client = await Client.connect(nginx.url, "QGIS")
        text = await client.say()
        await client.until(text=text)
        await client.leave()
        # The page is refused, since the front cannot know its own address
        with pytest.raises(InvalidStatus, match="403"):
            await join_as_page(nginx)
        # And `gischat check`, which tries the same, names the remedy
        found = list(check_address(nginx.url))
        assert [(one.level, FORWARD_HOST_HINT in one.remedy) for one in found] == [(Level.ERROR, True)]

    # When the line from the log is added, the page can join
    (cure,) = set(re.findall(r"proxy_set_header [^;]*;", front.new_log()))
    with behind_the_originals(front, tmp_path, cure.replace("$http_host", "chat.example.org")) as nginx:
        await join_as_page(nginx)
    with behind_the_originals(front, tmp_path, cure) as nginx:
        assert [one.level for one in check_address(nginx.url)] == [Level.OK]
    # Also with the header that other proxies add by themselves
    with behind_the_originals(front, tmp_path, "proxy_set_header X-Forwarded-Host chat.example.org;") as nginx:
        await join_as_page(nginx)


def test_check_names_faults_of_a_proxy(start_stack: StackFactory, tmp_path: Path) -> None:
    front = start_stack(heavy=0).fronts[0]
    charset = "charset utf-8; charset_types application/json;"
    upgrade = "proxy_set_header Upgrade $http_upgrade;"
    for more, without, remedy in [(charset, " ", "charset off;"), ("", upgrade, upgrade)]:
        with behind_the_originals(front, tmp_path, more, without=without) as nginx:
            (found,) = check_address(nginx.url)
            assert (found.level, remedy in found.remedy) == (Level.ERROR, True), found
    port = Port()
    with Nginx(
        tmp_path, f"server {{ listen {port.number}; return 301 https://elsewhere$request_uri; }}", port
    ) as nginx:
        (found,) = check_address(nginx.url)
        assert (found.level, "https://elsewhere/channels" in found.message) == (Level.ERROR, True), found


@pytest.mark.parametrize("location", ["/k/key", "/k/key/", "= /never"])
async def test_an_instances_address_may_have_a_path_and_end_in_a_slash(
    stack: Stack, tmp_path: Path, location: str
) -> None:
    """An address with a slash at its end leads to `//channels` or `/k/key//channels`."""
    port = Port()
    front = f"http://{HOST}:{stack.fronts[0].port}"
    under = f"location {location} {{ proxy_pass {front}/; {UPGRADE} }}"
    site = f"server {{ listen {port.number}; {under} location / {{ proxy_pass {front}; {UPGRADE} }} }}"
    prefix = "" if location == "= /never" else "/k/key"
    with Nginx(tmp_path, site, port) as nginx:
        for path in (f"{prefix}/channels", f"{prefix}//channels"):
            connection = http.client.HTTPConnection(HOST, port.number, timeout=30)
            connection.request("GET", path)
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())) == (200, ["QGIS", "Geotribu"]), path
            connection.close()
        for url in (nginx.url + prefix, nginx.url + prefix + "/"):
            client = await Client.connect(url, "QGIS")
            text = await client.say()
            await client.until(text=text)
            await client.leave()


# --- the file itself


def test_debians_nginx_accepts_the_site(tmp_path: Path) -> None:
    # Given the site of two hosts with usual paths
    (tmp_path / "site.conf").write_text(site("chat.example.org", "10.0.0.1:8000", "[2001:db8::2]:8000"))
    (tmp_path / "nginx.conf").write_text(f"events {{}} http {{ include {tmp_path}/site.conf; }}")
    command = [executable(), "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]

    # Then nginx misses only the certificates
    said = subprocess.run(command, capture_output=True, text=True).stderr
    (fault,) = [line for line in said.splitlines() if "[emerg]" in line]
    assert 'cannot load certificate "/etc/letsencrypt/live/chat.example.org/fullchain.pem"' in fault


@pytest.mark.parametrize("wrong", ["chat.example.org; return 200", "", "-x y", "a b"])
def test_invalid_names_are_refused(wrong: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        site(wrong)
    assert refused.value.returncode == 2


@pytest.mark.parametrize(("interval", "timeout"), [(1, 1), (20, 10), (20, 20), (300, 30)])
def test_nginxs_timeout_exceeds_a_fronts_ping_interval_and_timeout(interval: float, timeout: float) -> None:
    assert idle_timeout(settings(ws_ping_interval=interval)) > interval + timeout


def test_without_pings_nginxs_timeout_is_a_day() -> None:
    assert idle_timeout(settings(ws_ping_interval=0)) == 24 * 60 * 60
