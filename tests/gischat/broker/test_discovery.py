"""Connections to the servers of REDIS_URL. Real servers: see tests/redis, tests/faults/test_failover.py."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError
from tornado.ioloop import IOLoop

from gischat.broker.discovery import dialer
from gischat.broker.resp_errors import MasterNotFoundError
from gischat.redis_url import Node, parse
from tests.support.processes import HOST
from tests.support.scripted_redis import CLOSE, HANDSHAKE, Reply, ScriptedServer, is_handshake

STATE = {b"name": b"chat", b"ip": HOST.encode(), b"port": b"6379", b"flags": b"master", b"num-other-sentinels": b"0"}


def encoded(state: Mapping[bytes, bytes]) -> bytes:
    """Sentinel's answer about one master, in RESP3."""
    items = [b"$%d\r\n%b\r\n" % (len(item), item) for pair in state.items() for item in pair]
    return b"*1\r\n%%%d\r\n" % len(state) + b"".join(items)


@asynccontextmanager
async def sentinels(*replies: Reply) -> AsyncIterator[tuple[str, list[ScriptedServer]]]:
    """Sentinels, each with its answer to queries; and their URL."""
    servers = [ScriptedServer(partial(answer, reply)) for reply in replies]
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(server.serving()) for server in servers]
        addresses = ",".join(url.removeprefix("redis://").removesuffix("/0") for url in urls)
        yield f"redis+sentinel://{addresses}/chat", servers


def answer(reply: Reply, _: int, command: list[bytes]) -> Reply | str:
    return HANDSHAKE if is_handshake(command) and reply != CLOSE else reply


async def test_a_silent_sentinel_is_queried_once_and_then_the_next(io_loop: IOLoop) -> None:
    """Once, because the time limit of a connection is a few seconds."""
    async with sentinels(CLOSE, CLOSE) as (url, servers):
        with pytest.raises(MasterNotFoundError):
            await dialer(parse(url), "test")()
    assert [len(server.commands) for server in servers] == [1, 1]


async def test_a_sentinels_error_is_the_reason_for_no_connection(io_loop: IOLoop) -> None:
    """It is not logged as a bug with a traceback every 0.2 seconds."""
    async with sentinels(b"-NOPERM not allowed\r\n") as (url, _):
        with pytest.raises(MasterNotFoundError, match="not allowed"):
            await dialer(parse(url), "test")()


async def test_the_answer_of_a_sentinel_that_is_slow_to_close_counts(
    io_loop: IOLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a Sentinel that answers, and does not close its connection, as a busy one with TLS may do
    async def close_too_late(_: Redis) -> None:
        raise RedisTimeoutError("Timed out closing connection after 1.0")

    monkeypatch.setattr(Redis, "aclose", close_too_late)
    # Then its answer counts
    async with sentinels(encoded(STATE)) as (url, _):
        assert (await dialer(parse(url), "test")())._where == Node(HOST, 6379)
