"""A fake Redis with scripted replies: that it is loading, no longer a master, or none at all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Reply = bytes | None
CLOSE = b""  # instead of a reply


class ScriptedServer:
    """Answers each command with `replies(connection, command)`.

    None means no reply, `CLOSE` closes the connection, HANDSHAKE answers like Redis. Connections are counted from 1.
    """

    def __init__(self, replies: Callable[[int, list[bytes]], Reply | str]) -> None:
        self.commands: list[tuple[int, list[bytes]]] = []  # with their connection's number; without handshakes
        self._replies = replies
        self._connections = 0
        self._serving: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    @asynccontextmanager
    async def serving(self, path: str | None = None) -> AsyncIterator[str]:
        """Serve on a port of the loopback, or on a unix socket; yields the URL."""
        if path is None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        else:
            server = await asyncio.start_unix_server(self._serve, path)
            url = f"unix://{path}"
        try:
            yield url
        finally:
            server.close()
            for writer in self._serving:
                writer.close()
            await asyncio.gather(*filter(None, self._serving.values()), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving[writer] = asyncio.current_task()
        self._connections += 1
        number = self._connections
        try:
            while (reply := self._reply(number, await self._read(reader))) != CLOSE:
                if reply is not None:
                    writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _reply(self, number: int, command: list[bytes]) -> Reply:
        reply = self._replies(number, command)
        if isinstance(reply, bytes | None):
            self.commands.append((number, command))
            return reply
        return {b"PING": b"+PONG\r\n"}.get(command[0], b"+OK\r\n")

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> list[bytes]:
        """Read one command, an array of bulk strings."""
        length = int((await reader.readline())[1:] or _ended())
        parts = []
        for _ in range(length):
            size = int((await reader.readline())[1:] or _ended())
            parts.append((await reader.readexactly(size + 2))[:-2])
        return parts


def _ended() -> int:
    raise ConnectionError("the client has gone")


HANDSHAKE = "as Redis does"


def is_handshake(command: list[bytes]) -> bool:
    return command[0] in (b"PING", b"CLIENT", b"SELECT", b"AUTH", b"HELLO")
