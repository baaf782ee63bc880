"""Our site file in a real nginx, beyond what test_proxies asks of all proxies, and other files of operators."""

import asyncio
import http.client
import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from gischat.diagnostics.address import check_address
from gischat.diagnostics.findings import Level
from gischat.front.auth.origins import FORWARD_HOST_HINT
from gischat.supervision.nginx_site import idle_timeout
from tests.deploy.nginx import FRAME_SIZE, NAME, Nginx, Site, executable, site
from tests.support.client import Client
from tests.support.processes import HOST, Front, Port, Stack
from tests.support.settings import settings


@pytest.fixture(scope="module")
def nginx(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("nginx"), [f"{HOST}:{front.port}" for front in stack.fronts]) as nginx:
        yield nginx


async def test_clients_of_a_stopped_front_move_to_the_other_without_errors(stack: Stack, nginx: Site) -> None:
    # Given two clients, which least_conn sends to two fronts
    first, second = [await Client.connect(nginx.url, "QGIS", ssl=nginx.trusting) for _ in range(2)]
    stopped = stack.fronts[0]

    # When a front is stopped, all requests meanwhile are answered
    stopping, statuses = asyncio.create_task(stopped.stopped()), []
    while not stopping.done():
        statuses.append((await asyncio.to_thread(nginx.ask, "/version"))[0])
    assert await stopping == 0
    assert set(statuses) == {200}

    # Then one client was told to reconnect, and the other notices nothing
    moved, stayed = (first, second) if first.connection.close_code else (second, first)
    assert await moved.closed() == (1001, "The server is about to restart.")

    # And a reconnecting client is served at once
    again = await Client.connect(nginx.url, "QGIS", ssl=nginx.trusting)
    await stayed.until(text=await again.say())
    for client in (first, second, again):
        await client.leave()
    stopped.start()
    stack.wait_healthy(stopped)


async def test_its_size_limits_are_those_of_fronts(nginx: Site) -> None:
    # When a body is larger than the maximum, nginx refuses it
    body = b" " * (settings().max_body_size + 1)
    status, headers, answer = nginx.ask("/channel/QGIS/text", method="PUT", body=body)
    assert (status, headers.get_all("Content-Type"), list(json.loads(answer))) == (
        413,
        ["application/json"],
        ["detail"],
    )

    # When a frame has the maximum size, the front reads it; the front refuses a larger one, as without nginx
    client = await Client.connect(nginx.url, "QGIS", ssl=nginx.trusting)
    await client.send_raw(" " * FRAME_SIZE)
    await client.refusal()
    await client.send_raw(" " * (FRAME_SIZE + 1))
    assert "MB" in await client.refusal()
    await client.leave()


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
    await client.until(text=await client.say())
    await client.leave()


async def test_with_the_originals_file_qgis_works_and_the_log_says_what_the_page_needs(
    stack: Stack, tmp_path: Path
) -> None:
    front = stack.fronts[0]
    with behind_the_originals(front, tmp_path) as nginx:
        # QGIS and QField send no Origin
        client = await Client.connect(nginx.url, "QGIS")
        await client.until(text=await client.say())
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


def test_check_names_faults_of_a_proxy(stack: Stack, tmp_path: Path) -> None:
    charset = "charset utf-8; charset_types application/json;"
    upgrade = "proxy_set_header Upgrade $http_upgrade;"
    for more, without, remedy in [(charset, " ", "charset off;"), ("", upgrade, upgrade)]:
        with behind_the_originals(stack.fronts[0], tmp_path, more, without=without) as nginx:
            (found,) = check_address(nginx.url)
            assert (found.level, remedy in found.remedy) == (Level.ERROR, True), found
    port = Port()
    elsewhere = f"server {{ listen {port.number}; return 301 https://elsewhere$request_uri; }}"
    with Nginx(tmp_path, elsewhere, port) as nginx:
        (found,) = check_address(nginx.url)
        assert (found.level, "https://elsewhere/channels" in found.message) == (Level.ERROR, True), found


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


def test_nginxs_timeout_exceeds_a_fronts_ping_interval_and_timeout() -> None:
    for interval, timeout in [(1, 1), (20, 10), (20, 20), (300, 30)]:
        assert idle_timeout(settings(ws_ping_interval=interval)) > interval + timeout
    assert idle_timeout(settings(ws_ping_interval=0)) == 24 * 60 * 60  # without pings, a day
