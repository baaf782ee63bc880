"""The files for proxies, with a real nginx, Caddy and Apache."""

import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from websockets.exceptions import InvalidStatus

from tests.deploy.deployment import ROOT
from tests.deploy.nginx import BELOW, ELSEWHERE, NAME, Https, Nginx, ProxyServer, Site, executable
from tests.support.admin import Admin
from tests.support.client import Client
from tests.support.events import EventsReader
from tests.support.processes import HOST, Port, Stack
from tests.support.rest import Rest, eventually
from tests.support.settings import settings

TYPES = {"/openapi.json": "application/json", "/web/connection.js": "text/javascript", "/": "text/html"}

# Debian's apache2.conf around a site, reduced to what works without root.
APACHE = """
ServerRoot {directory}
PidFile {directory}/pid
Mutex file:{directory} default
Define APACHE_LOG_DIR {directory}
ErrorLog /dev/stderr
{user}
{modules}
TypesConfig /dev/null
Listen {port}
{site}
"""
MODULES = (
    "mpm_event authz_core mime ssl http2 proxy proxy_http proxy_wstunnel headers deflate filter alias setenvif"
    " socache_shmcb"
)


class Caddy(Https, ProxyServer):
    def __init__(self, directory: Path, fronts: list[str], *, below: bool = False) -> None:
        port = self.certify(directory)
        site = shipped("Caddyfile")
        host = "chat.example.org {"
        if below:
            site = re.sub(r"^#\t?", "", site.partition("# Below a path")[2].partition("\n")[2], flags=re.MULTILINE)
            site, host = site.replace("...", ""), "www.example.org {"
        assert host in site
        tls = f"https://{NAME}:{self.https_port} {{\n\ttls {directory}/fullchain.pem {directory}/privkey.pem"
        site = site.replace(host, tls).replace("127.0.0.1:8000", " ".join(fronts))
        (directory / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + site)
        super().__init__(directory, [executable("caddy"), "run", "--config", str(directory / "Caddyfile")], port)
        self._environment = {"HOME": str(directory)}


class Apache(Https, ProxyServer):
    def __init__(self, directory: Path, fronts: list[str], *, below: bool = False) -> None:
        port = self.certify(directory)
        site = shipped("apache.conf").partition("</VirtualHost>\n")[2]
        if below:
            moved, passed = re.findall(r"^    #   (RedirectMatch .*|ProxyPass .*)$", site, re.MULTILINE)
            site = re.sub(r"^    ProxyPass / .*$", f"{moved}\n{passed}", site, flags=re.MULTILINE)
        for name, value in {
            "*:443": f"*:{self.https_port}",
            "chat.example.org\n": f"{NAME}\n",
            "/etc/letsencrypt/live/chat.example.org": str(directory),
            "127.0.0.1:8000": fronts[0],
        }.items():
            assert name in site
            site = site.replace(name, value)
        modules = "\n".join(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES.split()
        )
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        configuration = directory / "apache.conf"
        configuration.write_text(
            APACHE.format(directory=directory, user=user, modules=modules, port=self.https_port, site=site)
        )
        super().__init__(directory, [executable("apache2"), "-DFOREGROUND", "-f", str(configuration)], port)


def shipped(name: str) -> str:
    return (ROOT / "deploy/proxies" / name).read_text("utf-8")


def addresses(stack: Stack) -> list[str]:
    return [f"{HOST}:{front.port}" for front in stack.fronts]


KINDS = {"nginx": Site, "caddy": Caddy, "apache": Apache}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def proxy(request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with request.param(tmp_path_factory.mktemp("proxy"), addresses(stack)) as proxy:
        yield proxy


@pytest.fixture
def authority(proxy: Https, tmp_path: Path) -> str:
    """The certificate that curl has to trust."""
    proxy.authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    return str(tmp_path / "authority.pem")


@asynccontextmanager
async def joined(proxy: Https, path: str = "", **options: Any) -> AsyncIterator[Client]:
    client = await Client.connect(proxy.url + path, "QGIS", ssl=proxy.trusting, **options)
    try:
        yield client
    finally:
        await client.leave()


async def test_clients_can_chat(proxy: Https) -> None:
    async with joined(proxy) as jane, joined(proxy) as john:
        await john.until(text=await jane.say())
    for path, status in [("/channels", 200), ("/channel/QGIS/users", 200), ("/channel/a%2Fb/users", 404)]:
        answered, headers, body = proxy.ask(path)
        assert (answered, headers.get_all("Content-Type")) == (status, ["application/json"]), path
    assert json.loads(body) == {"detail": "Channel 'a/b' not registered"}
    # A body of the maximum size is read by the front
    status, _, body = proxy.ask("/channel/QGIS/text", method="PUT", body=b" " * settings().max_body_size)
    assert (status, list(json.loads(body))) == (422, ["detail"])


async def test_an_event_stream_is_neither_delayed_nor_compressed(proxy: Any, authority: str) -> None:
    reader = await EventsReader.open(proxy.url + "/channel/QGIS/events", "--compressed", "--cacert", authority)
    assert reader.status == 200
    assert "content-encoding" not in reader.head.lower()
    async with joined(proxy) as jane:
        for _ in range(2):
            await reader.until(text=await jane.say())
    await reader.leave()


async def test_a_browser_can_join_from_our_page_only(proxy: Https) -> None:
    async with joined(proxy, origin=proxy.url) as browser:
        await browser.say()
    with pytest.raises(InvalidStatus, match="403"):
        await Client.connect(proxy.url, "QGIS", ssl=proxy.trusting, origin="https://elsewhere.example.org")


async def test_fronts_see_the_clients_address_and_the_proxy_logs_no_token(stack: Stack, proxy: Any) -> None:
    forged = {"additional_headers": {"X-Forwarded-For": "192.0.2.66"}}
    async with joined(proxy, local_addr=(ELSEWHERE, 0), query="?token=Sesame", **forged) as client:
        await client.until(text=await client.say())
    for mistyped in ("/hooks", "/Hooks", "/elsewhere/hooks/"):
        assert proxy.ask(f"{mistyped}/Sesame-0123456789")[0] == 404
    # A wrong key, and a right one, to which the page's address leads
    for key in ("Sesame", (await made_key(stack))):
        assert proxy.ask(f"/k/{key}/rules?token=Sesame")[0] == (401 if key == "Sesame" else 200)
    assert proxy.ask(f"/k/{key}/")[1]["Location"].endswith(f"#key={key}")
    said = "".join(front.new_log() for front in stack.fronts)
    assert (ELSEWHERE in said, "192.0.2.66" in said, "Sesame" in said) == (True, False, False)
    assert proxy.stop() == 0
    log = proxy.log.parent / "gischat.log"
    logged = proxy.whole_log() + (log.read_text() if log.exists() else "")
    assert ("/channel/QGIS/ws" in logged, "/rules" in logged, ELSEWHERE in logged) == (True, True, True)
    assert [secret for secret in ("Sesame", key) if secret in logged + said] == []
    proxy.__enter__()


async def made_key(stack: Stack) -> str:
    """Make a key, and wait until both fronts know it."""
    admin = Admin(stack.fronts[0].url)
    key = await admin.act("POST", "keys", {"channels": ["Geotribu"]})
    for front in stack.fronts:
        rest = Rest(front.url)

        async def is_heard(rest: Rest = rest) -> bool:
            return (await rest.fetch(key["path"] + "/rules")).code == 200

        await eventually(is_heard, True)
        rest.close()
    admin.close()
    return str(key["key"])


def test_operators_endpoints_are_not_public(proxy: Https) -> None:
    for path in ("/metrics", "/admin", "/admin/channels", "//metrics", "/%6detrics", "/x/../admin/x"):
        status, _, body = proxy.ask(path)
        assert status in (403, 404), path
        assert b"python_info" not in body, path


def test_pages_and_data_use_http_2_and_compression(proxy: Any, authority: str) -> None:
    def curl(path: str, *more: str) -> str:
        command = ["curl", "--silent", "--http2", "--compressed", "--cacert", authority, *more]
        command += ["--dump-header", "-", "--output", "/dev/null", proxy.url + path]
        return subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout.lower()

    for path, type_ in TYPES.items():
        headers = curl(path)
        assert headers.startswith("http/2 200"), headers
        assert "content-encoding: gzip" in headers, path
        assert f"content-type: {type_}" in headers, path
        # What a browser has already is not sent again
        etag = re.search(r"^etag: (.*)$", headers, re.MULTILINE)
        if etag is not None:
            assert curl(path, "--header", f"If-None-Match: {etag[1].strip()}").startswith("http/2 304"), path


@pytest.mark.parametrize("made", KINDS.values(), ids=KINDS)
def test_without_fronts_it_answers_in_json(made: Any, tmp_path: Path) -> None:
    nobody = Port()
    with made(tmp_path, [f"{HOST}:{nobody.number}"]) as proxy:
        status, headers, body = proxy.ask("/channels")
        assert (status, list(json.loads(body))) == (503 if made is Apache else 502, ["detail"])
        assert made is not Site or headers.get_all("Content-Type") == ["application/json"]


# --- below a path of another site


@pytest.mark.parametrize("made", [Caddy, Apache], ids=["caddy", "apache"])
async def test_an_instance_may_have_a_path(made: Any, stack: Stack, tmp_path: Path) -> None:
    with made(tmp_path, addresses(stack)[:1], below=True) as proxy:
        async with joined(proxy, BELOW) as jane:
            await jane.until(text=await jane.say())
        assert proxy.ask(BELOW)[1]["Location"].removeprefix(proxy.url) == BELOW + "/"
        assert json.loads(proxy.ask(BELOW + "/channels")[2]) == ["QGIS", "Geotribu"]
        assert proxy.ask(BELOW + "/metrics")[0] == 404


async def test_an_instance_may_have_a_path_behind_nginx(stack: Stack, tmp_path: Path) -> None:
    port = Port()
    locations = shipped("nginx-path.conf").replace("127.0.0.1:8000", addresses(stack)[0])
    with Nginx(tmp_path, f"server {{ listen {port.number}; {locations} }}", port) as nginx:
        jane = await Client.connect(nginx.url + BELOW, "QGIS")
        await jane.until(text=await jane.say())
        await jane.leave()
        rest = Rest(nginx.url + BELOW)
        assert await rest.get("/channels") == ["QGIS", "Geotribu"]
        assert (await rest.fetch("/metrics")).code == 404
        rest.close()


def test_the_file_for_traefik_is_valid_yaml() -> None:
    """Traefik itself is not available to the tests."""
    told = yaml.safe_load(shipped("traefik.yml"))["http"]
    for router in told["routers"].values():
        assert router["service"] in told["services"]
        assert set(router["middlewares"]) <= set(told["middlewares"])
