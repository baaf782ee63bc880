"""The bytes of a connection to Redis: commands packed and answers parsed in C, and nothing in between.

A `Connection` is made first: address, TLS, authentication, name. Then its transport is taken over: a task that waits on
a stream for each answer would cost this process more than all the rest of a message's way.
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
    """A command as it goes over the wire.

    Raises:
        UnicodeEncodeError: a string has no UTF-8.
    """
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub allows one argument only
    return packed


class RespTransport(asyncio.Protocol):
    """A connection that is made; answers go to `answered`, in the order of the commands.

    An answer that is an error is an instance of `ResponseError`.
    """

    def __init__(self, connection: "Connection", answered: Callable[[Any], None], writable: Callable[[], None]) -> None:
        """
        Args:
            connection: is made, and owes no answer.
            answered: is called with each answer; what it raises ends the wire.
            writable: is called when `is_full` is over.
        """
        loop = asyncio.get_running_loop()
        self._answered = answered
        self._writable = writable
        self._time = loop.time
        self.heard_at = loop.time()  # when the server last sent something
        self._parser = hiredis.Reader(replyError=error_of)
        self._ended: asyncio.Future[None] = loop.create_future()
        # That nobody waits any more for what ended it is no mistake.
        self._ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        self.is_full = False  # the server reads slower than we write: what is written now stays in our memory
        self._transport = connection.transport
        self._transport.set_protocol(self)

    def write(self, packed: bytes) -> None:
        """Sends packed commands. They are lost if the connection was closed in this turn, as `wait_ended` will tell."""
        if not self._transport.is_closing():  # uvloop's would raise
            self._transport.write(packed)

    async def wait_ended(self) -> None:
        """Waits for the end, and raises what it was that ended it."""
        await self._ended

    def end(self, error: Exception) -> None:
        """Ends the wire: no answer is taken any more. The connection is its maker's to close."""
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
