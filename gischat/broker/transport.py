"""The transport of a connection to Redis: hiredis packs commands and parses answers; nothing lies in between.

A `Connection` connects, authenticates and sets the name; then its transport is taken over. A task that awaits each
answer on a stream would cost more than the rest of a message's path.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import hiredis

from gischat.broker.resp_errors import error_of

if TYPE_CHECKING:
    from gischat.broker.connection import Connection

Argument = str | bytes | int | float


def pack(command: Sequence[Argument]) -> bytes:
    """Encode a command as RESP.

    Raises:
        UnicodeEncodeError: a string cannot be encoded as UTF-8.
    """
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub allows one argument only
    return packed


class RespTransport(asyncio.Protocol):
    """The protocol of an established connection; passes the answers on in the order of the commands.

    An error is passed on as an instance of `ResponseError`.
    """

    def __init__(self, connection: "Connection", answered: Callable[[Any], None], writable: Callable[[], None]) -> None:
        """Take the connection's transport over.

        Args:
            connection: established, without unanswered commands.
            answered: called with each answer; an exception that it raises ends the connection.
            writable: called when `is_full` becomes False.
        """
        loop = asyncio.get_running_loop()
        self._answered = answered
        self._writable = writable
        self._time = loop.time
        self.heard_at = loop.time()  # when the server last sent bytes
        self._parser = hiredis.Reader(replyError=error_of)
        self._ended: asyncio.Future[None] = loop.create_future()
        # Retrieve the exception, so that asyncio does not log it if nobody awaits the end any more.
        self._ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        self.is_full = False  # the server reads more slowly than we write; further writes are buffered in memory
        self._transport = connection.transport
        self._transport.set_protocol(self)

    def write(self, packed: bytes) -> None:
        """Send encoded commands; lost if the connection was closed in this turn, which `wait_ended` reports."""
        if not self._transport.is_closing():  # uvloop's write would raise
            self._transport.write(packed)

    async def wait_ended(self) -> None:
        """Wait until the connection ends; raises the error that ended it."""
        await self._ended

    def end(self, error: Exception) -> None:
        """End the exchange: further answers are ignored. The caller closes the connection."""
        if not self._ended.done():
            self._ended.set_exception(error)

    def data_received(self, data: bytes) -> None:
        if self._ended.done():
            return
        self.heard_at = self._time()
        try:
            self._parser.feed(data)
            while (answer := self._parser.gets(False)) is not False:
                self._answered(answer)
        except Exception as error:
            self.end(error)

    def connection_lost(self, error: Exception | None) -> None:
        self.end(error or ConnectionError("closed by the server"))

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._writable()
