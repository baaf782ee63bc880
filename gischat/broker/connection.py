"""A connection to one Redis server: connect, authenticate, set the name; then one command at a time, or pipelining.

Not redis-py's, whose package imports all of itself (cluster, Sentinel, modules' commands): that took a fifth of a
process' start and 6 MB of its memory. This is the part of it that is needed.
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

# A peer that disappears without closing is noticed after 45 s, also while idle; on systems without these options, after
# the system's own timeouts.
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class Connection:
    """A connection, made by `connect`; a `RespTransport` may then take its transport over."""

    def __init__(
        self, where: Node | str, options: Mapping[str, Any], *, name: str, has_tls: bool, seconds: float
    ) -> None:
        """Create it without connecting.

        Args:
            where: a server's address, or the path of its unix socket.
            options: username, password, db, ssl_*: see `gischat.redis_url`.
            name: its name in `CLIENT LIST`.
            has_tls: encrypt it by TLS, according to the ssl_* options.
            seconds: the timeout of connecting.
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
        """The transport of a connection that has no unanswered command; the caller may set another protocol."""
        assert self._writer is not None
        transport: asyncio.Transport = self._writer.transport  # type: ignore[assignment]  # it is, though typed as less
        return transport

    async def connect(self) -> None:
        """Connect, authenticate, set the name and select the database.

        Raises:
            OSError, TimeoutError: no connection; the text names the address.
            ResponseError: Redis refuses the user, the password or the database.
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
        """Authenticate, set the name and select the database in one round trip."""
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
        """Send a command; return its answer.

        Raises:
            ResponseError: the answer is an error.
            ConnectionError: the connection ended before the answer.
        """
        self._write(command)
        answer = await self._answer()
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def close(self) -> None:
        """Close it, if it is open; idempotent."""
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
    """Connect, and close at the end of the context. Raises what `connect` raises."""
    try:
        await connection.connect()
        yield connection
    finally:
        connection.close()
