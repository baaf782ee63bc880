"""The HTTP server: Tornado's, with bounds on the connections that are not in a channel.

Such a connection waits for a request, has one under way, or is between two (keep-alive). Each of these has its time,
and all together have a number; beyond it the one goes that has waited longest. So an attacker who holds connections
without asking for anything (slowloris) holds them shortly, while who asks at once, as every client does, is let in.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, UnsatisfiableReadError

from gischat.front.limits.memory_budget import MemoryBudget, abort
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.transport.acceptor import Acceptor
from gischat.front.transport.write_scheduler import ScheduledStream, WriteScheduler, has_unsent
from gischat.lateness import sleeps_on_time
from gischat.observability.metrics import RejectReason
from gischat.settings import Settings
from gischat.timings import Timings

MAX_HEADER_BYTES = 2**14
MAX_HEADER_LINES = 100
MAX_BODY_PIECES = 256  # that a body may come in: pieces of the stream, or chunks (RFC 9112 §7.1) …
PIECE_BYTES = 1024  # … and one more for each so many of its bytes: a network's packets are larger
TOO_MANY_HEADERS = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
JOINED_BYTES = 2**16  # of a body, at the most, that are copied behind its headers


class FrontHTTPServer(HTTPServer):
    """Serves an application, within the bounds of the settings."""

    def initialize(  # type: ignore[override]  # Tornado's constructor, as every Configurable has its own
        self,
        application: HTTPServerConnectionDelegate,
        settings: Settings,
        drops: RejectionLog,
        memory: MemoryBudget,
        address_key: Callable[[str, HTTPHeaders], str],
        timings: Timings = Timings(),
    ) -> None:
        """
        Args:
            address_key: gives the network that limits count a request's address as, by its peer's and its headers.
        """
        super().initialize(
            application,
            max_header_size=MAX_HEADER_BYTES,
            max_body_size=settings.max_body_size,
            body_timeout=settings.handshake_seconds,
        )
        self._max_pending = settings.max_pending_connections
        self._handshake_seconds = settings.handshake_seconds
        self._drops = drops
        self._memory = memory
        self._address_key = address_key
        self._timings = timings
        self._writes = WriteScheduler()
        # Each until then, and those first who have been there longest
        self._pending: dict[HTTP1ServerConnection, float] = {}  # for the headers of a first request
        self._busy: dict[HTTP1ServerConnection, float] = {}  # with a request
        self._idle: dict[HTTP1ServerConnection, float] = {}  # after a request

    def add_sockets(self, sockets: Any) -> None:
        for listening in sockets:
            self._sockets[listening.fileno()] = listening
            self._handlers[listening.fileno()] = Acceptor(listening, self._accept, self._drops, self._timings).stop

    def _accept(self, connection: socket.socket, address: Any) -> None:
        self.handle_stream(ScheduledStream(connection, self._writes), address)

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        bound_header_lines(stream)
        super().handle_stream(stream, address)

    def address_key(self, connection: HTTP1ServerConnection, headers: HTTPHeaders) -> str:
        """The network that limits count a request's address as."""
        return self._address_key(cast(Any, connection.context).remote_ip, headers)

    @property
    def pending(self) -> int:
        """Connections that are in no channel."""
        return len(self._pending) + len(self._busy) + len(self._idle)

    async def watch(self) -> None:
        """Closes who takes too long, until it is cancelled."""
        while True:
            if not await sleeps_on_time(self._timings.http_look, self._timings.late):
                continue
            now = self._now()
            for connection in [one for one, until in self._pending.items() if until < now]:
                self._close(connection, RejectReason.SLOW_REQUEST, "a request's headers did not come in time")
            for connection in [one for one, until in self._busy.items() if until < now]:
                self._close(connection, RejectReason.SLOW_REQUEST, "a request or its answer took too long")
            for connection in [one for one, until in self._idle.items() if until < now]:
                connection.stream.close()  # as both sides of HTTP may at any time (RFC 9112 §9.5)

    async def wait_idle(self) -> None:
        """After `stop`: waits, not for long, until who had come has asked and been answered."""
        until = self._now() + self._timings.requests_at_shutdown
        while (self._pending or self._busy) and self._now() < until:  # noqa: ASYNC110 - once in a life, and soon over
            await asyncio.sleep(0.01)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        connection = cast(HTTP1ServerConnection, server_conn)
        if self._busy.pop(connection, None) is not None:
            self._idle[connection] = self._now() + self._timings.http_idle
        else:
            self._evict_oldest()
            self._pending[connection] = self._now() + self._handshake_seconds
        request = _Request(self, connection, self._memory)
        answering = cast(HTTPConnection, _Answering(cast(HTTP1Connection, request_conn), request, self._memory))
        request.delegate = super().start_request(server_conn, answering)
        return request

    def on_headers(self, connection: HTTP1ServerConnection) -> None:
        """The headers of a request have come."""
        self._untrack(connection)
        self._busy[connection] = self._now() + self._timings.http_answer

    def on_close(self, server_conn: object) -> None:
        """The connection has ended, or has become a websocket."""
        super().on_close(server_conn)
        self._untrack(cast(HTTP1ServerConnection, server_conn))

    def _evict_oldest(self) -> None:
        """One more has come: if that is one too many, one goes that has nothing to lose, or has been here longest."""
        if 0 < self._max_pending <= self.pending:
            oldest = next(iter(self._idle or self._pending or self._busy))
            self._close(
                oldest, RejectReason.PENDING_CONNECTIONS, f"MAX_PENDING_CONNECTIONS ({self._max_pending}) are open"
            )

    def _close(self, connection: HTTP1ServerConnection, name: RejectReason, what: str) -> None:
        self._drops.record(name, what)
        self._untrack(connection)
        connection.stream.close()

    def _untrack(self, connection: HTTP1ServerConnection) -> None:
        for group in (self._pending, self._busy, self._idle):
            group.pop(connection, None)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def bound_header_lines(stream: IOStream) -> None:
    """Refuses a request of too many header lines before any is parsed: each takes twenty microseconds of the loop."""
    read = stream.read_until_regex

    async def read_bounded(regex: bytes, max_bytes: int | None = None) -> bytes:
        head = await read(regex, max_bytes=max_bytes)
        if head.count(b"\n") > MAX_HEADER_LINES:
            stream.write(TOO_MANY_HEADERS)
            stream.close()
            raise UnsatisfiableReadError
        return head

    stream.read_until_regex = read_bounded  # type: ignore[method-assign]  # of this stream alone


def unbound_header_lines(stream: IOStream) -> None:
    """What was needed for the request is not kept for the websocket."""
    vars(stream).pop("read_until_regex", None)


class _Request(HTTPMessageDelegate):
    """Tells the server that a request's headers have come, counts its body until that is complete, and hands all on."""

    delegate: HTTPMessageDelegate

    def __init__(self, server: FrontHTTPServer, connection: HTTP1ServerConnection, memory: MemoryBudget) -> None:
        self._server = server
        self._connection = connection
        self._memory = memory
        self._address = ""  # that its body counts for
        self._held = 0
        self._pieces = 0

    def evict(self) -> None:
        """Ends the connection: its body, or an answer that the client does not read, takes too much memory.

        Nothing is said: with a body on its way that nobody reads, the end is a reset, which takes an answer with it.
        """
        self._hold(-self._held)
        abort(self._connection.stream)

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._server.on_headers(self._connection)
        if "Content-Length" in headers or "Transfer-Encoding" in headers:
            self._address = self._server.address_key(self._connection, headers)
        return self.delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._pieces += 1
        if (
            self._pieces > MAX_BODY_PIECES + self._held // PIECE_BYTES
        ):  # chunks of a byte each, which cost as much as large ones
            self.evict()
        self._hold(len(chunk))
        return self.delegate.data_received(chunk)

    def finish(self) -> None:
        self._hold(-self._held)
        self.delegate.finish()

    def on_connection_close(self) -> None:
        self._hold(-self._held)
        self.delegate.on_connection_close()

    def _hold(self, size: int) -> None:
        if size:
            self._held += size
            self._memory.reserve_incoming(self, self._address, size)


class _Answering:
    """A request's connection, through which its answer goes: what the client has not taken is counted until it has.

    A large body is handed to the stream as it is. Tornado would put it into one with the headers, which is a copy for
    each of those who are answered with the same.
    """

    __slots__ = ("_connection", "_memory", "_request")

    def __init__(self, connection: HTTP1Connection, request: _Request, memory: MemoryBudget) -> None:
        self._connection = connection
        self._request = request
        self._memory = memory

    def detach(self) -> IOStream:
        del self._request  # a websocket keeps what it came by as long as it stays
        return self._connection.detach()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def write_headers(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None = None
    ) -> "asyncio.Future[None]":
        if chunk is not None and len(chunk) > JOINED_BYTES:
            self._connection.write_headers(start_line, headers)
            return self.write(chunk)
        written = self._connection.write_headers(start_line, headers, chunk)
        if chunk and (gone := self._gone()) is not None:
            request, size = self._request, len(chunk)
            self._memory.reserve(request, size)
            gone.add_done_callback(lambda _: self._memory.release(request, size))
        return written

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        written = self._connection.write(chunk)
        if chunk and (gone := self._gone()) is not None:
            request = self._request
            self._memory.reserve_data(request, chunk)
            gone.add_done_callback(lambda _: self._memory.release_data(request, chunk))
        return written

    def _gone(self) -> "asyncio.Future[None] | None":
        """Done when all is gone that waits in the stream, or the connection is; None where nothing waits."""
        stream = self._connection.stream
        return None if stream is None or stream.closed() or not has_unsent(stream) else stream.write(b"")
