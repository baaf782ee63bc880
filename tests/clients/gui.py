"""A client whose websocket lives in its GUI thread, as QWebSocket's does.

One coroutine is that thread: it reads, answers pings and acts on messages, one after the other. While it is blocked (by
a processing run, a modal dialog, a blocking GET), it reads nothing and answers no pings; the kernel buffers the data.
"""

import asyncio
import contextlib
import http.client
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from tests.support.client import DEADLINE
from tests.support.contract import Message

READ_SIZE = 1 << 16
# Characters that QUrl does not percent-encode when it parses a string leniently.
_KEPT_BY_QURL = "%:/?#[]@!$&'()*+,;=~"


def qurl(text: str) -> str:
    """The URL that QUrl makes of a typed address, or of a path with a channel's name."""
    return quote(re.sub("%(?![0-9A-Fa-f]{2})", "%25", text), safe=_KEPT_BY_QURL)


class Unusable(Exception):
    """The real client would fail on what it was sent."""


class Reply(NamedTuple):
    """The answer to a GET; `content_type` is from a header spelled exactly `Content-Type`, as QGIS expects it."""

    status: int
    content_type: str
    headers: list[tuple[str, str]]
    body: bytes


def get(url: str, method: str = "GET") -> Reply:
    """One request on its own connection, as QGIS makes it; redirects are not followed."""
    address = urlsplit(qurl(url))
    connection = http.client.HTTPConnection(address.netloc, timeout=DEADLINE)
    try:
        target = f"{address.path}?{address.query}" if address.query else address.path
        headers = {"Accept": "application/json", "Connection": "Keep-Alive", "Accept-Encoding": "gzip, deflate"}
        connection.request(method, target, headers=headers)
        response = connection.getresponse()
        found = response.getheaders()
        types = [value for name, value in found if name == "Content-Type"]
        return Reply(response.status, ", ".join(types), found, response.read())
    finally:
        connection.close()


class GuiClient:
    """A client's websocket; subclasses handle the messages."""

    def __init__(self) -> None:
        self.connected = False
        self.last_words: list[Message] = []  # received messages in order, shown or not
        self._news = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()
        self._failure: BaseException | None = None
        self._gui: asyncio.Task[None] | None = None

    # --- actions of a user ---

    async def open(self, url: str) -> None:
        """Open the websocket; return after the handshake."""
        target = parse_uri(qurl(url))
        self._protocol = ClientProtocol(target, max_size=None)
        self._reader, self._writer = await asyncio.open_connection(target.host, target.port)
        self._protocol.send_request(self._protocol.connect())
        self._flush()
        while self._protocol.handshake_exc is None and not self.connected:
            await self._read()
        if self._protocol.handshake_exc:
            raise self._protocol.handshake_exc
        self._gui = asyncio.create_task(self._run())

    def send(self, **message: Any) -> None:
        """Send a message as JSON; like QWebSocket, silently drop it if the connection is closed."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_text(json.dumps(message).encode())
            self._flush()

    async def close(self) -> None:
        """Close the websocket with the closing handshake."""
        if self._gui and self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._flush()
        await self.ended()

    async def ended(self) -> None:
        """Wait until the connection is closed."""
        if self._gui:
            async with asyncio.timeout(DEADLINE):
                await asyncio.wait([self._gui])
            self._writer.close()
        self._raise_failure()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Block the GUI thread within the context."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    # --- conditions that tests wait for ---

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition of what the client shows is true; return its value."""
        try:
            async with asyncio.timeout(DEADLINE):
                while not (found := condition()):
                    self._raise_failure()
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"waited {DEADLINE} s for {what}; there came {self._shown()}") from None
        return found

    async def heard(self, **conditions: Any) -> Message:
        """Wait for a message with these values, already received or not."""

        def matching() -> Message | None:
            return next((m for m in self.last_words if all(m.get(k) == v for k, v in conditions.items())), None)

        found: Message = await self.until(matching, f"a message with {conditions}")
        return found

    def _shown(self) -> str:
        return "\n  ".join([f"{len(self.last_words)} message(s)", *(f"{m!r:.200}" for m in self.last_words)])

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    # --- the GUI thread ---

    async def act(self, message: Message) -> None:
        """Handle a message as the client does; raises where the real one fails."""
        raise NotImplementedError

    async def _run(self) -> None:
        try:
            while await self._read():
                pass
        except (ConnectionError, TimeoutError):
            pass
        except BaseException as failure:
            self._failure = failure
        finally:
            self.connected = False
            self._news.set()

    async def _read(self) -> bool:
        """Read once and handle what was received; False at the end of the connection."""
        data = await self._reader.read(READ_SIZE)
        await self._free.wait()
        if data:
            self._protocol.receive_data(data)  # answers a ping with a queued pong
        else:
            self._protocol.receive_eof()
        self._flush()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                await self._take(event)
            else:
                self.connected = self._protocol.handshake_exc is None
        self._flush()
        return bool(data)

    _parts = b""

    async def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self._parts += bytes(frame.data)
            if frame.fin:
                text, self._parts = self._parts.decode(), b""
                message = json.loads(text)
                self.last_words.append(message)
                await self.act(message)
                self._news.set()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._writer.write(data)
            else:
                self._writer.close()
