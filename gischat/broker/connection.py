"""One connection to one Redis: made, authenticated, named. Then it is asked one thing at a time, or becomes a `Wire`'s.

Why not redis-py's: its package imports all of itself (cluster, Sentinel, modules' commands), which was a fifth of a
process' start and 6 MB of its memory; what we need of it is this.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import hiredis

from gischat.broker.resp_errors import ResponseError, error_of
from gischat.broker.transport import Argument, pack
from gischat.redis_url import Node, tls_context

READ_BYTES = 2**16

# A peer that is gone without a word is noticed after 45 s, also when nothing is asked; where the system has no such
# option, its own times hold.
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class Connection:
    """A connection that is not made yet."""

    def __init__(
        self, where: Node | str, options: Mapping[str, Any], *, name: str, has_tls: bool, seconds: float
    ) -> None:
        """
        Args:
            where: a server's address, or the path of its unix socket.
            options: username, password, db, ssl_*: see `gischat.redis_url`.
            name: what `CLIENT LIST` shows.
            seconds: how long connecting may take.
        """
        self._where = where
        self._options = options
        self._name = name
        self._has_tls = has_tls
        self._seconds = seconds
        self._parser = hiredis.Reader(replyError=error_of)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def transport(self) -> asyncio.Transport:
        """Of a connection that is made and owes no answer: whoever takes it over gets all that comes."""
        assert self._writer is not None
        transport: asyncio.Transport = self._writer.transport  # type: ignore[assignment]  # it is, though typed as less
        return transport

    async def connect(self) -> None:
        """
        Raises:
            OSError, TimeoutError: it cannot be made; the text says where to.
            ResponseError: Redis does not take us.
        """
        try:
            async with asyncio.timeout(self._seconds):
                self._reader, self._writer = await self._open()
                if isinstance(self._where, Node):
                    _keep_alive(self._writer.get_extra_info("socket"))
                await self._introduce()
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise TimeoutError(f"{self._where} does not answer") from None
            if isinstance(error, OSError):
                raise ConnectionError(f"{self._where}: {error.strerror or error}") from error
            raise

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._where, str):
            return await asyncio.open_unix_connection(self._where)
        tls = tls_context(self._options) if self._has_tls else None
        return await asyncio.open_connection(self._where.host, self._where.port, ssl=tls)

    async def _introduce(self) -> None:
        """Says who we are, in one round trip."""
        commands: list[tuple[Argument, ...]] = [("CLIENT", "SETNAME", self._name)]
        username, password = self._options.get("username"), self._options.get("password", "")
        if username or password:
            commands.insert(0, ("AUTH", username, password) if username else ("AUTH", password))
        if database := self._options.get("db"):
            commands.append(("SELECT", database))
        self._write(*commands)
        for answer in [await self._answer() for _ in commands]:
            if isinstance(answer, ResponseError):
                raise answer

    async def ask(self, *command: Argument) -> Any:
        """Its answer.

        Raises:
            ResponseError: it is an error.
            ConnectionError: the connection ended before it came.
        """
        self._write(command)
        answer = await self._answer()
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def close(self) -> None:
        """Ends it at once, if it was made; may be repeated."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, *commands: tuple[Argument, ...]) -> None:
        assert self._writer is not None
        self._writer.write(b"".join(map(pack, commands)))

    async def _answer(self) -> Any:
        assert self._reader is not None
        while (answer := self._parser.gets(False)) is False:
            data = await self._reader.read(READ_BYTES)
            if not data:
                raise ConnectionResetError("closed by the server")
            self._parser.feed(data)
        return answer


def _keep_alive(own: socket.socket) -> None:
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@contextlib.asynccontextmanager
async def opened(connection: Connection) -> AsyncIterator[Connection]:
    """The connection, made; closed at the end. Raises what `connect` raises."""
    try:
        await connection.connect()
        yield connection
    finally:
        connection.close()
