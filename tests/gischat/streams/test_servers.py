"""Connections to what REDIS_URL names. Real servers of every kind: tests/redis, tests/faults/test_failover.py."""

import asyncio

import pytest
from tornado.ioloop import IOLoop

from gischat.redis_url import parse
from gischat.streams.answers import MasterNotFoundError
from gischat.streams.servers import dialer
from tests.support.processes import HOST


async def test_a_sentinel_that_does_not_answer_is_asked_once_and_the_next_at_once(io_loop: IOLoop) -> None:
    # Given two Sentinels that hang up on everyone
    asked: list[int] = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer.get_extra_info("sockname")[1])
        writer.close()

    servers = [await asyncio.start_server(hang_up, HOST, 0) for _ in range(2)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]

    # When somebody wants to know the master
    with pytest.raises(MasterNotFoundError):
        await dialer(parse(f"redis+sentinel://{HOST}:{ports[0]},{HOST}:{ports[1]}/chat"), "test")()

    # Then each has been asked once: a connection is given up after a few seconds
    assert asked == ports
    for server in servers:
        server.close()
