"""Connections to the servers of REDIS_URL. Real servers: see tests/redis, tests/faults/test_failover.py."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError
from tornado.ioloop import IOLoop

from gischat.broker.discovery import dialer
from gischat.broker.resp_errors import MasterNotFoundError
from gischat.redis_url import Node, parse
from tests.support.processes import HOST


async def test_a_silent_sentinel_is_queried_once_and_then_the_next(io_loop: IOLoop) -> None:
    # Given two Sentinels that close every connection
    asked: list[int] = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer.get_extra_info("sockname")[1])
        writer.close()

    servers = [await asyncio.start_server(hang_up, HOST, 0) for _ in range(2)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]

    # When the master is queried
    with pytest.raises(MasterNotFoundError):
        await dialer(parse(f"redis+sentinel://{HOST}:{ports[0]},{HOST}:{ports[1]}/chat"), "test")()

    # Then each is queried once, because the time limit of a connection is a few seconds
    assert asked == ports
    for server in servers:
        server.close()


async def test_a_sentinels_error_is_the_reason_for_no_connection(io_loop: IOLoop) -> None:
    # Given a Sentinel whose ACL forbids the query
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := (await reader.read(2**16)).upper():
            introductions = asked.count(b"HELLO") + asked.count(b"CLIENT")
            writer.write(b"-NOPERM not allowed\r\n" if b"SENTINEL" in asked else b"+OK\r\n" * introductions)

    server = await asyncio.start_server(refuse, HOST, 0)
    port = server.sockets[0].getsockname()[1]

    # Then it is the reason why we cannot connect, and not logged as a bug with a traceback every 0.2 seconds
    with pytest.raises(MasterNotFoundError, match="not allowed"):
        await dialer(parse(f"redis+sentinel://{HOST}:{port}/chat"), "test")()
    server.close()


async def test_the_answer_of_a_sentinel_that_is_slow_to_close_counts(
    io_loop: IOLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a Sentinel that answers, and does not close its connection, as a busy one with TLS may do
    async def name_master(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state = [
            b"name",
            b"chat",
            b"ip",
            HOST.encode(),
            b"port",
            b"6379",
            b"flags",
            b"master",
            b"num-other-sentinels",
            b"0",
        ]
        masters = b"*1\r\n%%%d\r\n" % (len(state) // 2) + b"".join(
            b"$%d\r\n%s\r\n" % (len(item), item) for item in state
        )
        while asked := (await reader.read(2**16)).upper():
            introductions = asked.count(b"HELLO") + asked.count(b"CLIENT")
            writer.write(b"+OK\r\n" * introductions)
            if b"MASTERS" in asked:
                writer.write(masters)
                return

    async def close_too_late(_: Redis) -> None:
        raise RedisTimeoutError("Timed out closing connection after 1.0")

    server = await asyncio.start_server(name_master, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr(Redis, "aclose", close_too_late)

    # Then its answer counts
    connection = await dialer(parse(f"redis+sentinel://{HOST}:{port}/chat"), "test")()
    assert connection._where == Node(HOST, 6379)
    server.close()
