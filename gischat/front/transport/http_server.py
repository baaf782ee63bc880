"""The HTTP server: Tornado's, with limits on connections that are not in a channel, and on what requests hold."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
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
from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

from gischat.front.limits.admission import SERVER_FULL, Admission
from gischat.front.limits.memory_budget import MemoryBudget, abort
from gischat.front.limits.pending_connections import PendingConnections, State
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.transport.acceptor import Acceptor
from gischat.front.transport.http_answer import Answer
from gischat.front.transport.write_scheduler import ScheduledStream, WriteScheduler
from gischat.lateness import sleeps_on_time
from gischat.observability.metrics import RejectReason
from gischat.settings import Settings
from gischat.timings import Timings

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 2**14
MAX_HEADER_LINES = 100
MAX_BODY_PIECES = 256  # reads or chunks (RFC 9112 §7.1) in which a body may arrive …
PIECE_BYTES = 1024  # … plus one for each so many of its bytes, which is less than a network's packets contain
TOO_MANY_HEADERS = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
TOO_LATE = {
    State.PENDING: "a request's headers did not come in time",
    State.BUSY: "a request or its answer took too long",
}
NO_ROOM_BODY = msgspec.json.encode({"detail": SERVER_FULL[0]})
NO_ROOM = (
    "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(NO_ROOM_BODY)}\r\n\r\n".encode()
    + NO_ROOM_BODY
)


class FrontHTTPServer(HTTPServer):
    """Serves an application within the limits of the settings."""

    def initialize(  # type: ignore[override]  # Tornado's constructor, as every Configurable has its own
        self,
        application: HTTPServerConnectionDelegate,
        settings: Settings,
        rejections: RejectionLog,
        memory: MemoryBudget,
        admission: Admission,
        address_key: Callable[[str, HTTPHeaders], str],
        timings: Timings = Timings(),
    ) -> None:
        """Create the server.

        Args:
            address_key: maps a peer's address and a request's headers to the network that limits are applied to.
        """
        super().initialize(
            application,
            max_header_size=MAX_HEADER_BYTES,
            max_body_size=settings.max_body_size,
            body_timeout=settings.handshake_seconds,
        )
        self._max_pending = settings.max_pending_connections
        self._handshake_seconds = settings.handshake_seconds
        self._rejections = rejections
        self._memory = memory
        self._admission = admission
        self._address_key = address_key
        self._timings = timings
        self._writes = WriteScheduler()
        self._waiting = PendingConnections[HTTP1ServerConnection](
            settings.max_pending_connections, lambda: asyncio.get_running_loop().time()
        )

    def add_sockets(self, sockets: Any) -> None:
        for listening in sockets:
            self._sockets[listening.fileno()] = listening
            self._handlers[listening.fileno()] = Acceptor(
                listening, self._take_connection, self._rejections, self._timings
            ).stop

    def _take_connection(self, connection: socket.socket, address: Any) -> None:
        try:
            self.handle_stream(ScheduledStream(connection, self._writes), address)
        except Exception:
            log.exception("a connection could not be served")

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        bound_header_lines(stream)
        super().handle_stream(stream, address)

    def address_key(self, connection: HTTP1ServerConnection, headers: HTTPHeaders) -> str:
        """The network of a request's client that limits are applied to."""
        return self._address_key(cast(Any, connection.context).remote_ip, headers)

    @property
    def pending(self) -> int:
        """The number of connections that are not in a channel."""
        return len(self._waiting)

    async def watch(self) -> None:
        """Close connections after their deadlines, until cancelled."""
        while True:
            if not await sleeps_on_time(self._timings.http_look, self._timings.late):
                continue
            for connection, state in self._waiting.pop_late():
                if state is not State.IDLE:
                    self._rejections.record(RejectReason.SLOW_REQUEST, TOO_LATE[state])
                connection.stream.close()

    async def wait_idle(self) -> None:
        """After `stop`: wait, within a timeout, until accepted connections have been answered."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timings.requests_at_shutdown):
                while self._waiting.number_in(State.PENDING, State.BUSY):  # noqa: ASYNC110 - once per process, and short
                    await asyncio.sleep(0.01)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        connection = cast(HTTP1ServerConnection, server_conn)
        if connection in self._waiting:
            self._waiting.move(connection, State.IDLE, self._timings.http_idle)
        else:
            self._add(connection)
        request = _Request(self, connection, self._admission)
        answer = cast(HTTPConnection, Answer(cast(HTTP1Connection, request_conn), request, self._memory))
        request.delegate = super().start_request(server_conn, answer)
        return request

    def on_headers(self, connection: HTTP1ServerConnection, headers: HTTPHeaders) -> None:
        """Mark a connection as busy: a request's headers have arrived, which may tell its client's address."""
        self._waiting.move(connection, State.BUSY, self._timings.http_answer)
        if "X-Forwarded-For" in headers:
            self._waiting.set_address(connection, self.address_key(connection, headers))

    def on_close(self, server_conn: object) -> None:
        """Stop tracking a connection that has ended or become a websocket."""
        super().on_close(server_conn)
        self._waiting.remove(cast(HTTP1ServerConnection, server_conn))

    def _add(self, connection: HTTP1ServerConnection) -> None:
        evicted = self._waiting.add(connection, self.address_key(connection, HTTPHeaders()), self._handshake_seconds)
        if evicted is not None:
            self._rejections.record(
                RejectReason.PENDING_CONNECTIONS, f"MAX_PENDING_CONNECTIONS ({self._max_pending}) are open"
            )
            evicted.stream.close()


def bound_header_lines(stream: IOStream) -> None:
    """Refuse a request with too many header lines before they are parsed, which takes 20 µs of the loop for each."""
    read = stream.read_until_regex

    async def read_bounded(regex: bytes, max_bytes: int | None = None) -> bytes:
        head = await read(regex, max_bytes=max_bytes)
        if head.count(b"\n") > MAX_HEADER_LINES:
            stream.write(TOO_MANY_HEADERS)
            stream.close()
            raise UnsatisfiableReadError
        return head

    stream.read_until_regex = read_bounded  # type: ignore[method-assign]  # for this stream only


def unbound_header_lines(stream: IOStream) -> None:
    """Free the memory of `bound_header_lines`, which a websocket does not need."""
    vars(stream).pop("read_until_regex", None)


class _Request(HTTPMessageDelegate):
    """Reports a request's headers to the server, and counts the bytes of its body until the body is complete.

    If it is answered before that, the rest is read and dropped, up to the maximal size and time of a body. Closing with
    unread bytes would be a reset, by which the client would lose the answer.
    """

    delegate: HTTPMessageDelegate

    def __init__(self, server: FrontHTTPServer, connection: HTTP1ServerConnection, admission: Admission) -> None:
        self._server = server
        self._connection = connection
        self._admission = admission
        self._address = ""  # the network that its body is counted for
        self._received = 0
        self._held = 0
        self._pieces = 0
        self._is_complete = True  # False while there is a body to read
        self._is_awaited = False  # the client sends the body when it is told to go on (RFC 9110 §10.1.1)
        self._after_body: Callable[[], None] | None = None  # there if the rest of the body is dropped

    def evict(self) -> bool:
        """Refuse the body, which takes too much memory; or end the connection, if its answer does, which is unread."""
        self._hold(-self._held)
        stream = self._connection.stream
        if self._is_complete or self._after_body is not None:
            abort(stream)
            return True
        with contextlib.suppress(StreamClosedError):
            stream.write(NO_ROOM)
        self._after_body = stream.close
        self.delegate.on_connection_close()  # frees what has arrived
        return False

    def finish_after_body(self, finish: Callable[[], None]) -> None:
        """Call `finish`, which may close the connection, once the rest of the body has been dropped, if any comes."""
        if self._is_complete or (self._is_awaited and not self._received):
            finish()
        else:
            self._after_body = finish
            self._hold(-self._held)

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._server.on_headers(self._connection, headers)
        if "Content-Length" in headers or "Transfer-Encoding" in headers:
            self._is_complete = False
            self._is_awaited = headers.get("Expect") == "100-continue"
            self._address = self._server.address_key(self._connection, headers)
        return self.delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._pieces += 1
        self._received += len(chunk)
        # Chunks of a byte each cost as much as large ones.
        if self._pieces > MAX_BODY_PIECES + self._received // PIECE_BYTES:
            abort(self._connection.stream)
        if self._after_body is None:
            self._hold(len(chunk))
        if self._after_body is None:  # it was not refused just now
            return self.delegate.data_received(chunk)
        return None

    def finish(self) -> None:
        self._hold(-self._held)
        self._is_complete = True
        (self._after_body or self.delegate.finish)()

    def on_connection_close(self) -> None:
        self._hold(-self._held)
        self.delegate.on_connection_close()

    def _hold(self, size: int) -> None:
        if size:
            self._held += size
            self._admission.reserve(self, self._address, size)
