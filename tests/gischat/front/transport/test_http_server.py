"""Bodies of requests that the HTTP server refuses, over a real socket. tests/attacks has floods of requests."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import pytest
from tornado.web import Application

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


class Exchange(NamedTuple):
    """A connection to a server, and the handlers of its requests."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    admission: Admission
    begun: list[Any]


@contextlib.asynccontextmanager
async def exchange(**limits: int) -> AsyncIterator[Exchange]:
    bounds, rejections, begun = settings(**limits), RejectionLog(), list[Any]()
    admission = Admission(bounds, rejections)
    server = FrontHTTPServer(
        Application([("/(hook|unknown)", Hook, {"limits": bounds})], begun=begun, log_function=lambda _: None),
        settings=bounds,
        rejections=rejections,
        memory=MemoryBudget(bounds.max_front_bytes, rejections),
        admission=admission,
        address_key=lambda address, _: address,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    server.add_sockets([listener])
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        yield Exchange(reader, writer, admission, begun)
        writer.close()
        server.stop()
        await server.close_all_connections()


async def test_nothing_of_a_refused_body_is_kept_while_its_rest_may_come() -> None:
    async with exchange(max_front_bytes=100_000) as (reader, writer, admission, begun):
        writer.write(b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 90_000)
        await until(lambda: admission.used == 90_000)
        writer.write(b"x" * 20_000)
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        assert (admission.used, begun[0]._chunks) == (0, [])


async def test_a_request_whose_body_is_too_long_to_be_read_gets_one_answer() -> None:
    async with exchange() as (reader, writer, _, _):
        writer.write(b"POST /unknown HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
        received = await reader.read()
        assert (received[:13], received.count(b"HTTP/1.1")) == (b"HTTP/1.1 404 ", 1)
