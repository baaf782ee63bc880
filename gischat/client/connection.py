"""A connection that comes back by itself, until the server says that it does not want us."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import DecodeError

from gischat.client.errors import ChatError, Refused, Unreachable
from gischat.client.line import Line
from gischat.client.messages import Received, UncompliantMessage, parse

FIRST_DELAY = 1.0  # seconds
LONGEST_DELAY = 30.0
GOODBYE_PAUSE = 0.3  # seconds in which a close follows the `uncompliant` that tells its reason
CLOSE_SECONDS = 5.0  # that the server has for its goodbye
# Close codes of RFC 6455 §7.4.1
POLICY_VIOLATION = 1008  # mostly the server's word for a channel that is not for us: trying again would not help
TOO_LARGE = 1009
# … but after these reasons it is worth it: the connection was at fault
TIMED_OUT = "No answer to our ping."
TOO_SLOW = "Too slow: what was sent to you was not read."
SLOW_UPLOAD = "A message has begun, and makes no progress."
TOO_FAST = "You went on sending too fast after you were told to wait."
WORTH_RETURNING = (TIMED_OUT, TOO_SLOW, SLOW_UPLOAD, TOO_FAST)
TOO_FAST_DELAY = 60.0


class Listener(Protocol):
    """Who hears of the connection."""

    def on_open(self) -> None:
        """Connected, first or again."""

    def on_message(self, message: Received, size: int) -> None:
        """A message, and the size of its frame."""

    def on_lost(self, told: str) -> None:
        """The line has ended; `told` are the server's words if it was for the message on its way, else ""."""

    def on_end(self, error: ChatError) -> None:
        """It will not come back."""


class Connection:
    """`is_established`: it has been of use once. Before that, whatever fails ends it."""

    def __init__(self, open_line: Callable[[], Awaitable[Line]]) -> None:
        self.is_established = False
        self._open_line = open_line
        self._line: Line | None = None
        self._line_over = asyncio.Event()
        self._readers: set[asyncio.Task[None]] = set()
        self._work: asyncio.Task[None] | None = None
        self._attempt = 0
        self._told: tuple[UncompliantMessage, int] | None = None  # it may be the server's goodbye
        self._told_timer: asyncio.TimerHandle | None = None
        self._failure: ChatError | None = None

    def start(self, listener: Listener) -> None:
        self._listener = listener
        self._work = asyncio.create_task(self._stay())

    async def write(self, frame: str) -> None:
        """Puts a frame on the line; without a line it is lost, and the listener has heard or will hear so."""
        if self._line is not None:
            await self._line.write(frame)

    def restart(self) -> None:
        """Gives up a line; a new one follows at once."""
        if self._line is not None:
            self._attempt = -1
            self._line_over.set()

    def fail(self, error: ChatError) -> None:
        """Ends it: there is no use in coming back."""
        self._failure = error
        self._line_over.set()

    async def close(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        if self._told_timer is not None:
            self._told_timer.cancel()
        if self._readers:
            await asyncio.wait(self._readers, timeout=CLOSE_SECONDS)
        for reader in self._readers:
            reader.cancel()

    async def _stay(self) -> None:
        while self._failure is None:
            delay = 0.0
            try:
                line = await self._open_line()
            except Refused as error:
                self._failure = error
            except Unreachable as error:
                self._failure = None if self.is_established else error
                delay = max(error.retry_after, self._back_off())
            else:
                delay = await self._use(line)
            if self._failure is None:
                await asyncio.sleep(delay)
        self._listener.on_end(self._failure)

    async def _use(self, line: Line) -> float:
        """Lets a line serve as long as it goes; returns in how many seconds the next shall follow."""
        self._line = line
        self._line_over.clear()
        reader = asyncio.create_task(self._read(line))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        try:
            self._listener.on_open()
            await self._line_over.wait()
        finally:
            self._line = None
            line.close()
        return self._on_over(*(line.ending if reader.done() else (None, "")))

    async def _read(self, line: Line) -> None:
        try:
            while (frame := await line.read()) is not None:
                if line is self._line:
                    self._receive(frame)
        finally:
            if line is self._line:
                self._line_over.set()

    def _receive(self, frame: str | bytes) -> None:
        """The server tells why it closes in an `uncompliant`, its last message: that refuses nothing that was sent."""
        self._deliver_told()  # it was none: more has come
        try:
            message = parse(frame)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            self.fail(Unreachable("What answers there is no gischat: it says what is no message."))
            return
        if isinstance(message, UncompliantMessage):
            self._told = message, len(frame)
            self._told_timer = asyncio.get_running_loop().call_later(GOODBYE_PAUSE, self._deliver_told)
        else:
            self._attempt = 0  # only now: a server that accepts and closes at once must not be hammered
            self._listener.on_message(message, len(frame))

    def _take_told(self) -> tuple[UncompliantMessage, int] | None:
        told, self._told = self._told, None
        if self._told_timer is not None:
            self._told_timer.cancel()
        return told

    def _deliver_told(self) -> None:
        told = self._take_told()
        if told is not None:
            self._listener.on_message(*told)

    def _on_over(self, code: int | None, reason: str) -> float:
        told = self._take_told()
        words = told[0].reason if told is not None else reason
        if self._failure is None and code == POLICY_VIOLATION and reason not in WORTH_RETURNING:
            self._failure = Refused(words)
        elif self._failure is None and not self.is_established:
            self._failure = Unreachable(words or "The connection ended before it was of use.")
        is_about_message = code == TOO_LARGE or reason == SLOW_UPLOAD
        self._listener.on_lost(words if is_about_message else "")
        return TOO_FAST_DELAY if reason == TOO_FAST else self._back_off()

    def _back_off(self) -> float:
        """Exponential, and spread over half of its length: a thousand clients of a restarted server do not return at
        once. At once after a restart of our own."""
        self._attempt += 1
        if self._attempt == 0:
            return 0.0
        longest: float = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (self._attempt - 1))
        return longest * (0.5 + random.random() / 2)
