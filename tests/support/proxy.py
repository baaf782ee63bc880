"""A TCP proxy on the loopback that injects faults, between our processes and Redis or between clients and a front."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.processes import HOST

_NAMED = re.compile(rb"SETNAME\r\n\$\d+\r\n([^\r]+)\r\n", re.IGNORECASE)


@dataclass(eq=False)
class Link:
    """One connection through the proxy; `name` is the one set by CLIENT SETNAME."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    name: str = ""
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)


Which = Callable[[Link], bool]


def named(name: str) -> Which:
    """Selects the connections of that name."""
    return lambda link: link.name == name


def everyone(_: Link) -> bool:
    return True


class Proxy:
    """Listens on `port` and forwards to `target`: `async with Proxy(target) as proxy`.

    Bytes held back by `swallow` are not lost, as in TCP: `heal` forwards them.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._links: set[Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._to_server: Which | None = None
        self._to_client: Which | None = None
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> "Proxy":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut()

    @property
    def url(self) -> str:
        """For `REDIS_URL`, where the target is a Redis."""
        return f"redis://{HOST}:{self.port}/0"

    async def open(self) -> None:
        """Accept connections, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Stop accepting connections, and cut the existing ones."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._serving)

    def cut(self, which: Which = everyone) -> int:
        """Reset connections; returns their number."""
        links = [link for link in self._links if which(link)]
        for link in links:
            self._end(link)
        return len(links)

    def swallow(self, *, to_server: Which | None = None, to_client: Which | None = None) -> None:
        """Hold back all bytes of these connections, including future ones, in these directions."""
        self._to_server, self._to_client = to_server, to_client
        self._changed.set()
        self._changed = asyncio.Event()

    def heal(self) -> None:
        """Forward everything again, including what was held back."""
        self.swallow()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(HOST, self._target)
        except OSError:
            _reset(writer)
            return
        link = Link(writer, there[1])
        self._links.add(link)
        link.tasks = [
            asyncio.create_task(self._pass_on(link, reader, there[1], to_server=True)),
            asyncio.create_task(self._pass_on(link, there[0], writer, to_server=False)),
        ]
        await asyncio.wait(link.tasks, return_when=asyncio.FIRST_COMPLETED)
        self._end(link)

    async def _pass_on(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2**16):
                if to_server and (found := _NAMED.search(data)):
                    link.name = found[1].decode()
                while (hole := self._to_server if to_server else self._to_client) and hole(link):
                    await self._changed.wait()
                writer.write(data)
                await writer.drain()

    def _end(self, link: Link) -> None:
        self._links.discard(link)
        for task in link.tasks:
            task.cancel()
        for writer in (link.client, link.server):
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    if raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
