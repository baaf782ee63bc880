"""The websocket of a channel: opened, spoken to, closed. What it means is the connection's business."""

from typing import Any
from urllib.parse import urlsplit

from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler

from gischat.front.connection import Connection
from gischat.front.front import Front
from gischat.front.requests import log_failure

REASON_BYTES = 123  # what fits a close frame beside its code (RFC 6455 §5.5)


class ChannelSocket(WebSocketHandler):
    """`/channel/{channel}/ws`"""

    _connection: Connection | None = None

    def initialize(self, front: Front) -> None:
        self._front = front

    def prepare(self) -> None:
        # Tornado compares the origin with the host before it asks us, and takes it for a URL.
        try:
            urlsplit(self.request.headers.get("Origin", ""))
        except ValueError:
            self.send_error(403)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        log_failure(self, value)

    def open(self, *args: Any, **kwargs: Any) -> None:
        channel: str = args[0]
        room = self._front.rooms.get(channel)
        stream = self.ws_connection.stream if self.ws_connection is not None else None
        if stream is None or stream.closed():
            return  # gone before the handshake was through
        if room is None:
            self.close(1008, _short(f"Channel '{channel}' does not exist."))
        elif self._front.is_draining:
            self.close(1001, "The server is about to restart.")
        else:
            self.set_nodelay(True)
            self._connection = self._front.connect(room, stream, self.close, self._after())

    def on_message(self, message: str | bytes) -> None:
        if self._connection is not None:
            self._connection.receive(message)

    def on_close(self) -> None:
        if self._connection is not None:
            self._connection.ended()

    def _after(self) -> str | None:
        """The id of the last message that a client has which comes back; one that cannot be read is unknown."""
        try:
            return self.get_query_argument("after", None)
        except HTTPError:
            return ""


def _short(reason: str) -> str:
    """A reason cut to what a close frame holds; the cut keeps whole characters."""
    return reason.encode()[:REASON_BYTES].decode(errors="ignore")
