"""Shares the front's time among the connections that large messages go out to: in pieces, a few per turn of the loop.

A layer of five megabytes for two hundred clients is a gigabyte to copy into their sockets: in one step, it would block
all others for a second. So large data waits in its streams, as views of bytes that all receivers share, and goes out
piece by piece. Between two turns the event loop does everything else, such as delivering others' texts. Data that is
written to the same stream meanwhile follows it.
"""

import asyncio
import contextlib
import heapq
import itertools
import socket
from collections import deque
from functools import partial
from typing import Any, NamedTuple

from tornado.iostream import IOStream, StreamClosedError

from gischat.front.transport.client_stream import ClientStream
from gischat.front.transport.frames import PIECE_BYTES

TURN_BYTES = 2**19  # in one turn of the loop
KERNEL_BYTES = 2**18  # passed to the kernel ahead of what a client's window permits to send; else up to 4 MB
AGING = 2**8  # see `WriteScheduler`

Written = asyncio.Future[None]


class _QueuedStream(NamedTuple):
    """A place in the queue; the least is next."""

    rank: int
    number: int  # of arrival, among equals
    stream: "ScheduledStream"


class WriteScheduler:
    """The turns of all streams of a front.

    The stream with the least data left is next: a photo overtakes layers, and a layer's receivers complete one after
    the other. No stream starves: a part of all bytes sent so far counts against streams that are added later.
    """

    def __init__(self) -> None:
        self._queue: list[_QueuedStream] = []  # a heap
        self._numbers = itertools.count()
        self._is_scheduled = False
        self.sent = 0  # bytes ever, to all

    def add(self, stream: "ScheduledStream") -> None:
        """Let a stream send a piece when its turn comes."""
        heapq.heappush(self._queue, _QueuedStream(stream.rank, next(self._numbers), stream))
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_scheduled = False
        until = self.sent + TURN_BYTES
        while self._queue and self.sent < until:
            self.sent += heapq.heappop(self._queue).stream.send_piece()
        if self._queue:
            self._schedule()


class ScheduledStream(ClientStream):
    """A stream whose large writes go out by turns; small ones at once, unless they are behind a large one."""

    __slots__ = ("_scheduler", "_since", "_unsent", "unsent_bytes")

    def __init__(self, connection: socket.socket, scheduler: WriteScheduler) -> None:
        self._scheduler = scheduler
        self._unsent: deque[tuple[memoryview, Written]] | None = None  # there only if something is in it
        self._since = 0  # what had been sent to all when the first of it came
        self.unsent_bytes = 0
        super().__init__(connection)
        self.bound_kernel(KERNEL_BYTES)

    def bound_kernel(self, size: int) -> None:
        """Bound the unsent bytes in the kernel's buffer (tcp(7)); 0: by the system's own limits alone.

        Linux then accepts no more from `send` (net/core/stream.c: __sk_stream_memory_free); other systems, if they have
        the option, only do not call the socket writable. What is in flight is bounded by the client's window.
        """
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if option is not None:
            with contextlib.suppress(OSError):  # the connection may have ended already
                self.socket.setsockopt(socket.IPPROTO_TCP, option, size)

    @property
    def rank(self) -> int:
        """The stream with the lowest rank has the next turn."""
        return self.unsent_bytes + self._since // AGING

    def write(self, data: bytes | memoryview) -> Written:
        if self._unsent is None and len(data) <= PIECE_BYTES:
            return super().write(data)
        if self.closed():
            raise StreamClosedError(real_error=self.error)
        written: Written = asyncio.get_running_loop().create_future()
        self.unsent_bytes += len(data)
        if self._unsent is None:
            self._unsent = deque()
            self._since = self._scheduler.sent
            self._scheduler.add(self)
        self._unsent.append((memoryview(data), written))
        return written

    def send_piece(self) -> int:
        """Pass a piece to the socket, and queue for the next turn once the socket has all of it; returns its size."""
        if self._unsent is None:
            return 0  # closed meanwhile
        data, written = self._unsent.popleft()
        piece, rest = data[:PIECE_BYTES], data[PIECE_BYTES:]
        self.unsent_bytes -= len(piece)
        if rest:
            self._unsent.appendleft((rest, written))
        sent = self._send(piece)
        if not rest:
            _settle(written, sent)
        if not self._unsent:
            self._unsent = None
        elif sent is None:
            self._scheduler.add(self)
        else:
            sent.add_done_callback(self._on_sent)
        return len(piece)

    def _send(self, piece: memoryview) -> Written | None:
        """Send a piece; returns None if the socket has all of it, else the future of Tornado's write of the rest."""
        size = 0
        if not self.writing():
            with contextlib.suppress(OSError):  # Tornado's own attempt tells what is wrong
                size = self.socket.send(piece)
            if size == len(piece):
                return None
        return super().write(piece[size:])

    def _on_sent(self, _: Written) -> None:
        if self._unsent is not None:
            self._scheduler.add(self)

    def close(self, exc_info: Any = False) -> None:
        super().close(exc_info)
        unsent, self._unsent, self.unsent_bytes = self._unsent, None, 0
        for _, written in unsent or ():
            _fail(written, StreamClosedError(real_error=self.error))


def unsent_bytes(stream: IOStream) -> int:
    """Written bytes that wait for the stream's turn, or in Tornado's buffer for the socket."""
    in_buffer = 0 if stream.closed() else len(stream._write_buffer)  # a closed one has no buffer
    return in_buffer + (stream.unsent_bytes if isinstance(stream, ScheduledStream) else 0)


def has_unsent(stream: IOStream) -> bool:
    """Whether written bytes wait; Tornado's `writing` does not know of those that wait for their turn."""
    return unsent_bytes(stream) > 0


def unbound_kernel(stream: IOStream) -> None:
    """Pass to the kernel all that it takes, before closing: it sends that to a slow client even after the close."""
    if isinstance(stream, ScheduledStream) and not stream.closed():
        stream.bound_kernel(0)


def _settle(written: Written, sent: Written | None) -> None:
    """Complete a write with the result of its last piece (None: sent), now or when that is done."""
    if sent is None:
        if not written.done():
            written.set_result(None)
    elif not sent.done():
        sent.add_done_callback(partial(_settle, written))
    elif (error := sent.exception()) is not None:
        _fail(written, error)
    else:
        _settle(written, None)


def _fail(written: Written, error: BaseException) -> None:
    if not written.done():
        written.set_exception(error)
        written.exception()  # that nobody waits for it is no mistake
