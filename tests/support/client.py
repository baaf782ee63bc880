"""A websocket client as strict as the QGIS plugin, with methods that wait."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any, NoReturn, Self, TypeVar
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.contract import Message, check, words
from tests.support.waiting import DEADLINE

_AS_QGIS = {"compression": None, "max_size": None, "ping_interval": None, "proxy": None, "close_timeout": 5}

T = TypeVar("T")


class Client:
    """One connection to a channel.

    Received messages are kept twice: `received` is the log of all, `unread` is a mailbox from which `until` takes the
    first message that matches. Every message is checked against the contract on arrival; a breach is raised by the
    test's next call.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.received: list[Message] = []
        self.unread: list[Message] = []
        self.nb_users = 0
        self.there_before: frozenset[str] = frozenset()  # nicknames registered before it joined
        self.connection = connection
        self._breach: AssertionError | None = None
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, base_url: str, channel: str, *, query: str = "", **options: Any) -> Self:
        """Open the channel's websocket, as QGIS does: without compression and without an Origin."""
        url = f"{base_url.replace('http', 'ws', 1)}/channel/{quote(channel, safe='')}/ws{query}"
        return cls(await connect(url, **{**_AS_QGIS, **options}))

    async def send(self, **message: Any) -> None:
        await self.send_raw(json.dumps(message))

    async def send_raw(self, data: str | bytes) -> None:
        """Send one frame unchanged: a text frame for a str, a binary frame for bytes."""
        await self.connection.send(data)

    async def say(self, text: str | None = None, *, author: str = "jane") -> str:
        """Send a text, by default a unique one; return it."""
        text = words() if text is None else text
        await self.send(type="text", author=author, text=text)
        return text

    async def register(self, nickname: str) -> Message:
        """Register a nickname and wait for its `newcomer`."""
        await self.send(type="newcomer", newcomer=nickname)
        return await self.until(type="newcomer", newcomer=nickname)

    async def until(self, **conditions: Any) -> Message:
        """Wait for the first unread message with these values and take it out of the mailbox."""

        def matching() -> Message | None:
            return next((m for m in self.unread if all(m.get(k) == v for k, v in conditions.items())), None)

        message = await self._wait_for(matching, f"a message with {conditions}")
        self.unread.remove(message)
        return message

    async def count(self, nb_users: int) -> None:
        """Wait until the latest `nb_users` is that number: counts are throttled, so some are never sent."""
        await self._wait_for(lambda: self.nb_users == nb_users, f"nb_users to become {nb_users}")

    async def nothing_before(self, marker: str) -> None:
        """Wait for the text `marker` and assert that it is the first unread message.

        `nb_users` are ignored, as they are throttled. So are `newcomer`s of nicknames that were registered before this
        client joined, as its front may have received them later. The marker must be sent after whatever must not
        arrive, over the connection that might have caused it.
        """
        message = await self.until(type="text", text=marker)
        earlier = [m for m in self.received[: self.received.index(message)] if m in self.unread]
        self.unread = [m for m in self.unread if m not in earlier]
        unexpected = [m for m in earlier if m["type"] != "nb_users" and m.get("newcomer") not in self.there_before]
        assert not unexpected, f"came before the marker: {_shown(unexpected)}"

    async def refusal(self) -> str:
        return str((await self.until(type="uncompliant"))["reason"])

    def texts(self) -> list[str]:
        return [m["text"] for m in self.received if m["type"] == "text"]

    def without_counts(self) -> list[Message]:
        """Every message received so far but `nb_users`, which may come between any others, in order."""
        return [m for m in self.received if m["type"] != "nb_users"]

    async def closed(self) -> tuple[int | None, str | None]:
        """Wait until the connection has ended; return close code and reason."""
        async with asyncio.timeout(DEADLINE):
            await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason

    async def leave(self) -> None:
        """Close the connection properly; raise a breach of the contract in what was received."""
        await self.connection.close()
        await self._reader
        self._raise_breach()

    def reset(self) -> None:
        """Reset the TCP connection if it is open, as when a phone loses its network."""
        transport = self.connection.transport
        if not transport.is_closing():
            raw: socket.socket = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    def write_bytes(self, data: bytes) -> None:
        """Write bytes below the websocket protocol."""
        self.connection.transport.write(data)

    async def _read(self) -> None:
        try:
            async for frame in self.connection:
                self._receive(frame)
        except ConnectionClosed:
            pass
        finally:
            self._news.set()

    def _receive(self, frame: str | bytes) -> None:
        try:
            assert isinstance(frame, str), "a client received a binary frame"
            message = json.loads(frame, parse_constant=_not_json)
            check(message)
        except Exception as error:
            self._breach = self._breach or AssertionError(f"{error!r} in frame {frame[:300]!r}")
            self._news.set()
            return
        self.nb_users = message.get("nb_users", self.nb_users)
        self.received.append(message)
        self.unread.append(message)
        self._news.set()

    async def _wait_for(self, condition: Callable[[], T | None], what: str) -> T:
        try:
            async with asyncio.timeout(DEADLINE):
                while not (found := condition()):
                    self._raise_breach()
                    assert not self._reader.done(), f"{self._ending()}, waiting for {what}; {self._log()}"
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"waited {DEADLINE} s for {what}; {self._log()}") from None
        return found

    def _raise_breach(self) -> None:
        if self._breach:
            raise self._breach

    def _ending(self) -> str:
        return f"closed with {self.connection.close_code} {self.connection.close_reason!r}"

    def _log(self) -> str:
        return f"received {_shown(self.received)}"


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _shown(messages: list[Message]) -> str:
    """Messages for a failing test's output, one per line, with long values truncated."""

    def cut(value: Any) -> Any:
        return f"{value:.80}…" if isinstance(value, str) and len(value) > 80 else value

    lines = [repr({key: cut(value) for key, value in message.items()})[:400] for message in messages]
    return "\n  ".join([f"{len(messages)} message(s)", *lines])
