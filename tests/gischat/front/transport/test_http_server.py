"""The HTTP server over real sockets, with a handler that does not answer."""

import asyncio
import contextlib
import socket

import pytest
from tornado.web import Application, RequestHandler

from gischat.front.limits.admission import Admission
from gischat.front.limits.memory_budget import MemoryBudget
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.transport.http_server import FrontHTTPServer
from tests.support.settings import settings
from tests.support.waiting import DEADLINE, until

pytestmark = pytest.mark.usefixtures("io_loop")

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Busy(RequestHandler):
    """Handles each request until its connection is closed."""

    async def get(self) -> None:
        self.application.settings["begun"].append(self)
        self._gone = asyncio.Event()
        await self._gone.wait()

    def on_connection_close(self) -> None:
        self._gone.set()


async def test_one_connection_is_closed_for_another_even_during_a_request() -> None:
    limits, rejections, begun = settings(max_pending_connections=3), RejectionLog(), list[RequestHandler]()
    server = FrontHTTPServer(
        Application([("/", Busy)], begun=begun, log_function=lambda _: None),
        settings=limits,
        rejections=rejections,
        memory=MemoryBudget(limits.max_front_bytes, rejections),
        admission=Admission(limits, rejections),
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
