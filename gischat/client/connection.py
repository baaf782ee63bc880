"""A connection that reconnects automatically, until the server refuses it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from msgspec import DecodeError
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from gischat.backoff import Backoff
from gischat.client.errors import ChatError, Refused, Unreachable
from gischat.client.messages import UncompliantMessage, parse

if TYPE_CHECKING:
    from gischat.client.chat import Chat

FIRST_DELAY = 1.0  # seconds
MAX_DELAY = 30.0
GOODBYE_PAUSE = 0.3  # seconds within which a close follows the `uncompliant` with its reason
CLOSE_SECONDS = 5.0  # timeout for the server's close frame
# Close codes of RFC 6455 §7.4.1
POLICY_VIOLATION = 1008  # usually the channel is not for this client, so a reconnection would fail, too
TOO_LARGE = 1009
# … except for these reasons, which are about the connection
TIMED_OUT = "No answer to our ping."
TOO_SLOW = "Too slow: what was sent to you was not read."
SLOW_UPLOAD = "A message has begun, and makes no progress."
TOO_FAST = "You went on sending too fast after you were told to wait."
WORTH_RETURNING = (TIMED_OUT, TOO_SLOW, SLOW_UPLOAD, TOO_FAST)
TOO_FAST_DELAY = 60.0


class Connection:
    """Before `is_established` is set, every failure ends the connection; afterwards it reconnects."""

    def __init__(self, open_websocket: Callable[[], Awaitable[WebSocketClientConnection]]) -> None:
        self.is_established = False
        self._open_websocket = open_websocket
        self._websocket: WebSocketClientConnection | None = None
        self._websocket_ended = asyncio.Event()
        self._readers: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff(FIRST_DELAY, MAX_DELAY)
        self._is_restarting = False
        self._last_uncompliant: tuple[UncompliantMessage, int] | None = None  # it may be the reason of a close
        self._delivery_timer: asyncio.TimerHandle | None = None
        self._failure: ChatError | None = None

    def start(self, chat: "Chat") -> None:
        self._chat = chat
        self._task = asyncio.create_task(self._run())

    async def write(self, frame: str) -> None:
        """Send a frame; without a websocket it is dropped, which `on_lost` has reported or will report."""
        if self._websocket is not None:
            with contextlib.suppress(WebSocketClosedError, StreamClosedError):
                await self._websocket.write_message(frame)

    def restart(self) -> None:
        """Close the websocket; a new one follows at once."""
        if self._websocket is not None:
            self._is_restarting = True
            self._backoff.reset()
            self._websocket_ended.set()

    def fail(self, error: ChatError) -> None:
        """End the connection for good."""
        self._failure = error
        self._websocket_ended.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._delivery_timer is not None:
            self._delivery_timer.cancel()
        if self._readers:
            await asyncio.wait(self._readers, timeout=CLOSE_SECONDS)
        for reader in self._readers:
            reader.cancel()

    async def _run(self) -> None:
        while self._failure is None:
            delay = 0.0
            try:
                websocket = await self._open_websocket()
            except Refused as error:
                self._failure = error
            except Unreachable as error:
                self._failure = None if self.is_established else error
                delay = max(error.retry_after, self._back_off())
            else:
                delay = await self._use(websocket)
            if self._failure is None:
                await asyncio.sleep(delay)
        self._chat.on_end(self._failure)

    async def _use(self, websocket: WebSocketClientConnection) -> float:
        """Use a websocket until it ends; returns the seconds to wait before the next one."""
        self._websocket = websocket
        self._websocket_ended.clear()
        reader = asyncio.create_task(self._read(websocket))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        try:
            self._chat.on_open()
            await self._websocket_ended.wait()
        finally:
            self._websocket = None
            websocket.close(1000)  # frames that arrive before the server's answer are still read
        is_over = reader.done()
        return self._on_over(websocket.close_code if is_over else None, (is_over and websocket.close_reason) or "")

    async def _read(self, websocket: WebSocketClientConnection) -> None:
        try:
            while (frame := await websocket.read_message()) is not None:
                if websocket is self._websocket:
                    self._receive(frame)
        finally:
            if websocket is self._websocket:
                self._websocket_ended.set()

    def _receive(self, frame: str | bytes) -> None:
        """Deliver a message. An `uncompliant` is delayed: if it is the last message, it is the reason of the close."""
        self._deliver_uncompliant()  # it was not the last one
        try:
            message = parse(frame)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            self.fail(Unreachable("This server is not gischat: it has sent something that is no message."))
            return
        if isinstance(message, UncompliantMessage):
            self._last_uncompliant = message, len(frame)
            self._delivery_timer = asyncio.get_running_loop().call_later(GOODBYE_PAUSE, self._deliver_uncompliant)
        else:
            self._backoff.reset()  # only now, to keep backing off from a server that accepts and closes at once
            self._chat.on_message(message, len(frame))

    def _take_uncompliant(self) -> tuple[UncompliantMessage, int] | None:
        uncompliant, self._last_uncompliant = self._last_uncompliant, None
        if self._delivery_timer is not None:
            self._delivery_timer.cancel()
        return uncompliant

    def _deliver_uncompliant(self) -> None:
        uncompliant = self._take_uncompliant()
        if uncompliant is not None:
            self._chat.on_message(*uncompliant)

    def _on_over(self, code: int | None, reason: str) -> float:
        uncompliant = self._take_uncompliant()
        text = uncompliant[0].reason if uncompliant is not None else reason
        if self._failure is None and code == POLICY_VIOLATION and reason not in WORTH_RETURNING:
            self._failure = Refused(text)
        elif self._failure is None and not self.is_established:
            self._failure = Unreachable(text or "The connection ended before the channel was joined.")
        is_about_message = code == TOO_LARGE or reason == SLOW_UPLOAD
        self._chat.on_lost(text if is_about_message else "")
        return TOO_FAST_DELAY if reason == TOO_FAST else self._back_off()

    def _back_off(self) -> float:
        """The seconds until the next attempt; 0 after `restart`."""
        is_restart, self._is_restarting = self._is_restarting, False
        return 0.0 if is_restart else self._backoff.next()
