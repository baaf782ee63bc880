"""The HTTP server over real sockets, with handlers that record their requests."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import pytest
from tornado.web import Application, RequestHandler

from gischat.front.handlers.hooks import PostToHook
from gischat.front.limits.admission import Admission
from gischat.front.limits.memory_budget import MemoryBudget
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.transport.http_server import FrontHTTPServer
from gischat.settings import Settings
from gischat.timings import Timings
from tests.support.settings import settings
from tests.support.waiting import DEADLINE, until

pytestmark = pytest.mark.usefixtures("io_loop")

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Busy(RequestHandler):
    """Handles each request until its connection is closed."""

    async def get(self) -> None:
        self.application.settings["begun"].append(self)
        self._gone = asyncio.Event()
        await self._gone.wait()

    def on_connection_close(self) -> None:
        self._gone.set()


class Hook(PostToHook):
    """A hook that everybody may post to."""

    def initialize(self, limits: Settings) -> None:
        front = MagicMock(settings=limits, timings=Timings())
        front.rooms.__getitem__.return_value.bans.of_address.return_value = None
        front.hooks.acquire.return_value = None
        if self.request.path == "/unknown":
            front.hooks.find.return_value = None
        super().initialize(front)
        self.application.settings["begun"].append(self)


class Serving(NamedTuple):
    """A server, the handlers of its requests, and a function that connects a client."""

    server: FrontHTTPServer
    admission: Admission
    begun: list[Any]
    connect: Connect


@contextlib.asynccontextmanager
async def serving(**limits: int) -> AsyncIterator[Serving]:
    bounds, rejections, begun = settings(**limits), RejectionLog(), list[Any]()
    admission = Admission(bounds, rejections)
    server = FrontHTTPServer(
        Application(
            [("/", Busy), ("/(hook|unknown)", Hook, {"limits": bounds})], begun=begun, log_function=lambda _: None
        ),
        settings=bounds,
        rejections=rejections,
        memory=MemoryBudget(bounds.max_front_bytes, rejections),
        admission=admission,
        address_key=lambda address, _: address,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    server.add_sockets([listener])
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(DEADLINE):
        stack.push_async_callback(server.close_all_connections)
        stack.callback(server.stop)

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            stack.callback(writer.close)
            return reader, writer

        yield Serving(server, admission, begun, connect)


async def test_one_connection_is_closed_for_another_even_during_a_request() -> None:
    async with serving(max_pending_connections=3) as (server, _, begun, connect):
        # Given as many connections as may be, whose requests are handled
        ends = [await connect() for _ in range(3)]
        for _, writer in ends:
            writer.write(REQUEST)
        await until(lambda: len(begun) == len(ends))
        # When another client connects, and sends its request after one of them has been closed
        newest, writer = await connect()
        await asyncio.wait([asyncio.create_task(end.read()) for end, _ in ends], return_when=asyncio.FIRST_COMPLETED)
        await until(lambda: server.pending <= 3)
        writer.write(REQUEST)
        # Then that is handled, and no other was closed
        await until(lambda: len(begun) == 4 or newest.at_eof())
        assert len(begun) == 4
        assert [end.at_eof() for end, _ in ends].count(True) == 1


async def test_nothing_of_a_refused_body_is_kept_while_its_rest_may_come() -> None:
    async with serving(max_front_bytes=100_000) as (_, admission, begun, connect):
        reader, writer = await connect()
        writer.write(b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 90_000)
        await until(lambda: admission.used == 90_000)
        writer.write(b"x" * 20_000)
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        assert (admission.used, begun[0]._chunks) == (0, [])


async def test_a_request_whose_body_is_too_long_to_be_read_gets_one_answer() -> None:
    async with serving() as (_, _, _, connect):
        reader, writer = await connect()
        writer.write(b"POST /unknown HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
        received = await reader.read()
        assert (received[:13], received.count(b"HTTP/1.1")) == (b"HTTP/1.1 404 ", 1)
