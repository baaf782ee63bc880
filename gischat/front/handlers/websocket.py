"""The websocket of a channel: handshake, open and close; `ClientConnection` handles its messages."""

from asyncio import Future
from http import HTTPStatus
from typing import Any

import msgspec
from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler, WebSocketProtocol, WebSocketProtocol13

from gischat.front.auth.access_keys import forget_secret, has_wrong_key, key_of
from gischat.front.auth.origins import FOREIGN_ORIGIN
from gischat.front.close_status import SHUTTING_DOWN, CloseStatus, private_channel, unknown_channel
from gischat.front.connection.client_connection import ClientConnection
from gischat.front.handlers.access_log import log_ended, log_opened
from gischat.front.handlers.base import JSON, Handler
from gischat.front.handlers.rest import refuse
from gischat.front.limits.connection_limit import ConnectionPermit
from gischat.front.limits.rate_limit import ConnectionRateLimiter
from gischat.front.services import Services
from gischat.front.transport.frames import text_frame
from gischat.front.transport.http_server import unbound_header_lines
from gischat.front.transport.websocket_protocol import BufferedWebSocketProtocol, NullCounter
from gischat.observability import metrics
from gischat.observability.metrics import RejectReason
from gischat.protocol.messages import uncompliant

NO_HEADERS = HTTPHeaders()


class ChannelSocket(Handler, WebSocketHandler):
    """`/channel/{channel}/ws`"""

    # Python shares a limited number of attribute names between instances, which Tornado's handlers nearly exhaust;
    # more attributes would cost a kilobyte per connection.
    __slots__ = ("_connection", "_front", "_permit", "_reading")

    # Sentry's integration replaces this method of all handlers, and would keep a scope of seven kilobytes and an open
    # transaction for as long as a client stays. Errors are reported where they are logged.
    _execute = WebSocketHandler._execute

    def initialize(self, front: Services) -> None:
        self._front = front
        self._connection: ClientConnection | None = None
        self._permit: ConnectionPermit | None = None
        self._reading: BufferedWebSocketProtocol | None = None

    def prepare(self) -> None:
        refusal = self._front.connection_limiter.check_connection(self.address)
        if refusal is not None:
            refuse(self, refusal)
            return
        # Not in `check_origin`: before it, Tornado parses the origin as a URL, which may fail, and admits all origins
        # of our own host, whatever their scheme.
        if not self._front.origins.admit(self.request):
            self._front.rejections.record(RejectReason.ORIGIN, "%s", self._front.origins.advice(self.request))
            self.answer({"detail": FOREIGN_ORIGIN}, 403)
            return
        room = self._front.rooms.get(self.path_args[0])
        ban = room.bans.of_address(self.address) if room is not None else None
        if ban is not None:
            metrics.CONNECTIONS_REFUSED.labels(RejectReason.BANNED).inc()
            self.answer({"detail": ban.user_message}, 403)

    def finish(self, chunk: Any = None) -> "Future[None]":
        if self.get_status() >= 400 and not isinstance(chunk, bytes):  # Tornado's own error text about the handshake
            chunk = msgspec.json.encode({"detail": chunk or HTTPStatus(self.get_status()).phrase})
            self.set_header("Content-Type", JSON)
        return super().finish(chunk)

    def check_origin(self, origin: str) -> bool:
        return True  # checked in `prepare`

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        plain = super().get_websocket_protocol()
        if not isinstance(plain, WebSocketProtocol13):
            return plain
        room = self._front.rooms.get(self.path_args[0])
        self._reading = BufferedWebSocketProtocol(
            self,
            plain.params,
            address_key=self._front.connection_limiter.key_of(self.address),
            # A client of an unknown channel is only told so; what it sends meanwhile is counted for no channel.
            received=room.received_bytes if room is not None else NullCounter(),
            admission=self._front.admission,
            turns=self._front.read_scheduler,
            uploads=self._front.upload_watch,
            timings=self._front.timings,
        )
        return self._reading

    def open(self, *args: Any, **kwargs: Any) -> None:
        # Nothing has been awaited since `prepare`, so its check of the limit is still valid.
        self._permit = self._front.connection_limiter.acquire(self.address)
        try:
            self._admit(args[0], self._permit.rate_limiter)
        except BaseException:
            self.on_close()  # Tornado does not call it for a websocket that failed to open
            raise

    def _admit(self, channel: str, pace: ConnectionRateLimiter) -> None:
        room = self._front.rooms.get(channel)
        stream = self.ws_connection.stream if self.ws_connection is not None else None
        if stream is None or stream.closed():
            return  # closed during the handshake
        if room is None:
            metrics.CONNECTIONS_REFUSED.labels(RejectReason.UNKNOWN_CHANNEL).inc()
            self._close(unknown_channel(channel))
        elif denial := self._front.channel_auth.denial(channel, self.request):
            if not has_wrong_key(self.request):  # wrong keys are counted elsewhere
                metrics.CONNECTIONS_REFUSED.labels(RejectReason.TOKEN).inc()
            # By an `uncompliant`, like an unknown channel, not by a status code, which clients do not show.
            self._close(private_channel(denial.reason, denial.advice))
        elif self._front.is_draining:
            self._close(SHUTTING_DOWN)
        else:
            self.set_nodelay(True)
            wanted = self._after(), self.address, self._types()
            self._connection = self._front.accept_client(room, stream, self.close, pace, *wanted)
            self._connection.access_key = key_of(self.request)
            if self._reading is not None:
                self._reading.endpoint = self._connection
            log_opened(self.request, channel, self._connection.id)
        self._drop_handshake()

    def _close(self, status: CloseStatus) -> None:
        """Close a websocket that has joined no channel; its user is told why, as for all others."""
        if self.ws_connection is not None and self.ws_connection.stream is not None:
            self.ws_connection.stream.write(text_frame(uncompliant(status.user_message)))
        self.close(status.code, status.reason)

    def on_close(self) -> None:
        if self._permit is not None:
            self._permit.release()
        if self._connection is not None:
            self._connection.on_socket_closed()
            self._log_ended(self._connection)

    def _log_ended(self, connection: ClientConnection) -> None:
        log_ended(
            self.request,
            connection.room.channel,
            connection.id,
            goodbye=connection.close_status,
            client_code=self.close_code,
            messages=connection.messages_received,
            bytes_in=self._reading.bytes_in if self._reading is not None else 0,
        )

    def _drop_handshake(self) -> None:
        """Free the handshake's headers and arguments, which take kilobytes per connection, and may contain a token."""
        if self.ws_connection is not None and self.ws_connection.stream is not None:
            unbound_header_lines(self.ws_connection.stream)
        # Replaced, not cleared: a dictionary does not shrink.
        self.request.headers = self._headers = NO_HEADERS
        # The state of the HTTP request, a kilobyte and a half, which nothing else refers to.
        self.request.connection = self.request.server_connection = None
        forget_secret(self.request)
        self.request.uri, self.request.query = self.request.path, ""
        self.request.arguments = self.request.query_arguments = {}
        self.ui.clear()  # functions for templates

    def _types(self) -> list[str]:
        """The optional message types that the client asks for; unknown ones may be those of a newer server."""
        try:
            return self.get_query_argument("types", "").split(",")
        except HTTPError:
            return []

    def _after(self) -> str | None:
        """The id of the last message that a reconnecting client has; "" (which is unknown) if it is unreadable."""
        try:
            return self.get_query_argument("after", None)
        except HTTPError:
            return ""
