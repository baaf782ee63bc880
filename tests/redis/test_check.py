"""`gischat check` on real Redis servers, each with a fault or none."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from gischat.broker.keys import ChannelKeys
from gischat.diagnostics.findings import Finding, Level
from gischat.diagnostics.redis import check_redis
from gischat.timings import Timings
from tests.support import tls
from tests.support.certificates import Certificates
from tests.support.permissions import GuardedValkey
from tests.support.processes import HOST, Port
from tests.support.redis_servers import Server
from tests.support.settings import settings
from tests.support.waiting import DEADLINE

Check = Callable[..., Awaitable[list[Finding]]]

PATIENT = Timings(redis_connect=DEADLINE, redis_answer=DEADLINE)


@pytest.fixture
def check(io_loop: IOLoop) -> Check:
    """Checks a URL; returns the findings."""

    async def checked(url: str, timings: Timings = PATIENT, **changes: Any) -> list[Finding]:
        findings = [finding async for finding in check_redis(settings(redis_url=url, **changes), timings)]
        assert not any("secret" in f"{finding}" for finding in findings), "a password is shown"
        return findings

    return checked


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without faults."""
    with Server(tmp_path_factory.mktemp("valkey"), maxmemory="4gb") as server:
        yield server


@contextmanager
def changed(server: Server, changes: dict[str, str]) -> Iterator[None]:
    before = {name: server.client.config_get(name)[name] for name in changes}
    for name, value in changes.items():
        server.client.config_set(name, value)
    yield
    for name, value in before.items():
        server.client.config_set(name, value)


def said(findings: list[Finding], *levels: Level) -> str:
    """The findings of these levels, with their remedies, as text."""
    return "\n".join(f"{found.message} | {found.remedy}" for found in findings if found.level in levels)


async def test_a_redis_without_faults_is_found_so_and_not_changed(check: Check, server: Server) -> None:
    findings = await check(server.url)

    assert {finding.level for finding in findings} == {Level.OK}
    for words in ("answers in", "is Valkey 9", "noeviction", "append-only", "same time", "all that we need"):
        assert words in said(findings, Level.OK)
    assert server.client.dbsize() == 0


FAULTS = [
    ({"maxmemory-policy": "allkeys-lru"}, Level.ERROR, ("evicts messages", "allkeys-lru", "noeviction")),
    ({"maxmemory-policy": "volatile-ttl"}, Level.WARNING, ("volatile-ttl", "noeviction")),
    ({"maxmemory-policy": "allkeys-lfu", "maxmemory": "0"}, Level.WARNING, ("would", "noeviction")),
    ({"maxmemory": "100mb"}, Level.WARNING, ("1.27 GiB", "100 MiB", "MAX_INBOX_BYTES")),
    ({"maxmemory": "1mb"}, Level.WARNING, ("in use", "refused")),
    ({"appendonly": "no"}, Level.WARNING, ("no append-only file", "keeps nothing", "appendonly yes")),
    ({"appendonly": "no", "save": "60 1000"}, Level.WARNING, ("no append-only file", "snapshots only")),
    ({"appendfsync": "no"}, Level.WARNING, ("half a minute", "everysec")),
    ({"maxclients": "2"}, Level.WARNING, ("2 clients of at most 2", "maxclients")),
]


@pytest.mark.parametrize(("changes", "level", "words"), FAULTS)
async def test_faults_are_named_with_a_remedy(
    check: Check, server: Server, changes: dict[str, str], level: Level, words: tuple[str, ...]
) -> None:
    with changed(server, changes):
        found = said(await check(server.url), level)
    assert [word for word in words if word not in found] == []


async def test_a_replica_is_named(check: Check, server: Server) -> None:
    server.client.replicaof(HOST, "1")
    found = said(await check(server.url), Level.ERROR)
    server.client.replicaof("NO", "ONE")
    assert "replica" in found
    assert "master" in found


async def test_damaged_keys_are_named(check: Check, server: Server) -> None:
    keys = ChannelKeys("gischat", "QGIS")
    server.client.set(keys.outbox, "what is this?")
    server.client.hset(keys.for_script()[3], "published", "what is this?")
    server.client.set(keys.live, "what is this?")
    found = said(await check(server.url, instance_id="gischat", channels=("QGIS", "Other")), Level.ERROR)
    server.client.flushall()
    assert f"damaged keys: {keys.outbox}, {keys.for_script()[3]} (published is no number), {keys.live} |" in found


async def test_many_channels_need_more_memory(check: Check, server: Server) -> None:
    findings = await check(server.url, channels=tuple(f"c{number}" for number in range(10)))
    assert "full streams of 10 channels may take 6.35 GiB" in said(findings, Level.WARNING)


@pytest.mark.parametrize(("seconds", "words"), [(60, "60 s behind"), (-60, "60 s ahead of")])
async def test_a_clock_difference_is_named(
    check: Check, server: Server, monkeypatch: pytest.MonkeyPatch, seconds: float, words: str
) -> None:
    real = time.time
    monkeypatch.setattr("gischat.diagnostics.redis_server.time.time", lambda: real() + seconds)
    assert words in said(await check(server.url), Level.WARNING)


async def test_missing_permissions_are_named_and_findings_unknown_without(check: Check, tmp_path: Path) -> None:
    # Given a user with only the permissions of the example
    with GuardedValkey(tmp_path, "gischat") as valkey:
        # Then no fault is found, and unknown findings are named
        findings = await check(valkey.url)
        assert "INFO" in said(findings, Level.UNKNOWN)
        assert not said(findings, Level.ERROR, Level.WARNING)
        assert "all that we need on the keys of 2 channels" in said(findings, Level.OK)
        # Without one of them, or on other keys, that is named
        for missing in ("xadd", "zscore", "xgroup|create", "hkeys", "eval"):
            valkey.admin.execute_command("ACL", "SETUSER", "gischat", f"-{missing}")
            found = said(await check(valkey.url), Level.ERROR)
            valkey.admin.execute_command("ACL", "SETUSER", "gischat", f"+{missing}")
            assert missing in found.lower()
            assert "deploy/redis/users.acl" in found
        found = said(await check(valkey.url, instance_id="another"), Level.ERROR)
        assert "xadd" in found
        assert "gischat:{another:*" in found
        assert valkey.admin.dbsize() == 0


# Unreachable servers


async def test_a_server_that_cannot_be_reached_is_named(check: Check, server: Server, tmp_path: Path) -> None:
    port = Port()
    assert "nothing listens there" in said(await check(f"redis://{HOST}:{port.number}"), Level.ERROR)
    port.release()
    assert "name is not known" in said(await check("redis://redis.invalid"), Level.ERROR)
    assert "no such socket" in said(await check(f"unix://{tmp_path}/valkey.sock"), Level.ERROR)
    server.freeze()
    found = said(await check(server.url, Timings(redis_connect=0.1)), Level.ERROR)
    server.wake()
    assert "does not answer" in found


async def test_a_url_that_does_not_fit_its_server_is_named(check: Check, server: Server) -> None:
    assert "no database" in said(await check(f"redis://{HOST}:{server.port}/99"), Level.ERROR)
    assert "is in no cluster" in said(await check(f"redis+cluster://{HOST}:{server.port}"), Level.ERROR)
    assert "is no Sentinel" in said(await check(f"redis+sentinel://{HOST}:{server.port}/chat"), Level.ERROR)


async def test_wrong_and_missing_credentials_are_distinguished(check: Check, server: Server) -> None:
    assert "does not accept" in said(await check(f"redis://jane:secret@{HOST}:{server.port}"), Level.ERROR)
    with changed(server, {"requirepass": "secret"}):
        server.client.auth("secret")
        assert "wants a password" in said(await check(f"redis://{HOST}:{server.port}"), Level.ERROR)
        assert not said(await check(f"redis://:secret@{HOST}:{server.port}"), Level.ERROR)


async def test_missing_tls_options_are_named(check: Check, tmp_path: Path) -> None:
    own = Certificates(tmp_path)
    with tls.TlsRedis(tmp_path / "redis", own) as server:
        where = f"rediss://:{tls.PASSWORD}@{HOST}:{server.port}"
        assert "not trusted" in said(await check(where), Level.ERROR)
        only_authority = f"{where}?{tls.query(own, ['authority'])}"
        assert "ssl_certfile" in said(await check(only_authority), Level.ERROR)
        assert "rediss://" in said(await check(where.replace("rediss", "redis")), Level.ERROR)
        assert not said(await check(f"{where}?{tls.query(own)}"), Level.ERROR)


# Several servers


async def test_missing_cluster_slots_are_named_with_their_channels(check: Check, tmp_path: Path) -> None:
    bus = Port()
    node = Server(tmp_path / "node", cluster_enabled="yes", cluster_port=str(bus.number))
    bus.release()
    with node:
        node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 9000)
        findings = await check(f"redis+cluster://{HOST}:{node.port}", channels=("QGIS", "Geotribu"))
        assert "7383 slots have no master; of them channels " in said(findings, Level.ERROR)
        # And a URL for a single server is named, too
        assert "redis+cluster://" in said(await check(node.url), Level.ERROR)


async def test_a_sentinel_without_the_service_is_named(check: Check, tmp_path: Path) -> None:
    with tls.sentinel(tmp_path, Certificates(tmp_path)) as url:
        assert "does not know other" in said(await check(url.replace("/chat/1", "/other")), Level.ERROR)
        assert "sentinel_password=" in said(await check(url.replace("sentinel_password", "ssl_password")), Level.ERROR)

        # And an absent Sentinel is only a warning
        port = Port()
        findings = await check(url.replace("/chat", f",{HOST}:{port.number}/chat"))
        assert "nothing listens there" in said(findings, Level.WARNING)
        assert not said(findings, Level.ERROR)
        port.release()
