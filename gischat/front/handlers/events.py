"""`/channel/{channel}/events`: a channel's messages as server-sent events."""

import asyncio
from functools import partial
from http import HTTPStatus

from tornado.iostream import IOStream
from tornado.web import HTTPError

from gischat.front.auth.access_keys import key_of
from gischat.front.close_status import SHUTTING_DOWN
from gischat.front.connection.event_reader import EventReader, close_when_written
from gischat.front.connection.event_stream import MEDIA_TYPE
from gischat.front.handlers.access_log import log_ended, log_opened
from gischat.front.handlers.rest import ChannelHandler, refuse
from gischat.front.limits.connection_limit import ConnectionPermit
from gischat.front.transport.http_server import unbound_header_lines
from gischat.observability import metrics
from gischat.observability.metrics import RejectReason

TRANSPORT = "event stream"
REFUSALS = {401: RejectReason.TOKEN, 403: RejectReason.BANNED, 404: RejectReason.UNKNOWN_CHANNEL}  # as for websockets


class Events(ChannelHandler):
    """Answers with an endless stream; detaches its connection from Tornado like a websocket, and joins the room."""

    MEDIA_TYPE = MEDIA_TYPE

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("X-Accel-Buffering", "no")  # so that nginx forwards each event at once

    def prepare(self) -> None:
        super().prepare()
        if (reason := REFUSALS.get(self.get_status())) is not None:
            metrics.CONNECTIONS_REFUSED.labels(reason).inc()

    def get(self, _: str) -> None:
        self.set_header("Content-Type", MEDIA_TYPE)
        if self.request.method == "HEAD":
            self.finish()
            return
        if self.front.is_draining:
            raise HTTPError(503, SHUTTING_DOWN.user_message)
        if (refusal := self.front.connection_limiter.check_connection(self.address)) is not None:
            refuse(self, refusal)
            return
        after = self.request.headers.get("Last-Event-ID") or self.get_query_argument("after", None)
        permit = self.front.connection_limiter.acquire(self.address)
        stream = self.detach()
        if stream is None or stream.closed():
            permit.release()
            return
        self._open(stream, permit, after)

    def _open(self, stream: IOStream, permit: ConnectionPermit, after: str | None) -> None:
        unbound_header_lines(stream)
        stream.set_nodelay(True)
        stream.write(self._head())
        close = partial(self._close, stream)
        reader = self.front.accept_reader(self.front.rooms[self.channel], stream, close, after, self.address)
        reader.access_key = key_of(self.request)
        log_opened(self.request, self.channel, reader.id, TRANSPORT)
        stream.set_close_callback(partial(self._on_closed, reader, permit))
        # The client must not send anything after its request: it would fill a buffer of ours.
        asyncio.ensure_future(stream.read_bytes(1)).add_done_callback(
            lambda read: None if read.exception() else stream.close()
        )

    def _head(self) -> bytes:
        """The response's head, without a length: the body ends with the connection (RFC 9112 §6.3)."""
        self.set_header("Connection", "close")
        lines = [f"HTTP/1.1 {HTTPStatus.OK.value} OK", *(f"{name}: {value}" for name, value in self._headers.get_all())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _close(self, stream: IOStream, code: int, reason: str) -> None:
        close_when_written(stream, self.front.timings.close_answer)

    def _on_closed(self, reader: EventReader, permit: ConnectionPermit) -> None:
        permit.release()
        reader.on_socket_closed()
        goodbye = reader.close_status
        log_ended(
            self.request,
            self.channel,
            reader.id,
            goodbye=goodbye,
            client_code=1000,
            messages=0,
            bytes_in=0,
            transport=TRANSPORT,
        )
