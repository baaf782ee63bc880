"""The websocket of a channel: opened, spoken to, closed. What it means is the connection's business."""

from typing import Any

from tornado.iostream import IOStream
from tornado.websocket import WebSocketHandler

from gischat.front.connection import Connection
from gischat.front.front import Front

REASON_BYTES = 123  # what fits a close frame beside its code (RFC 6455 §5.5)


class ChannelSocket(WebSocketHandler):
    """`/channel/{channel}/ws`"""

    _connection: Connection | None = None

    def initialize(self, front: Front) -> None:
        self._front = front

    def open(self, *args: Any, **kwargs: Any) -> None:
        channel: str = args[0]
        room = self._front.rooms.get(channel)
        if room is None:
            self.close(1008, _short(f"Channel '{channel}' does not exist."))
        elif self._front.is_draining:
            self.close(1001, "The server is about to restart.")
        else:
            self.set_nodelay(True)
            after = self.get_query_argument("after", None)
            self._connection = self._front.connect(room, self._plain_stream(), self.close, after)

    def on_message(self, message: str | bytes) -> None:
        if self._connection is not None:
            self._connection.receive(message)

    def on_close(self) -> None:
        if self._connection is not None:
            self._connection.ended()

    def _plain_stream(self) -> IOStream:
        assert self.ws_connection is not None
        stream = self.ws_connection.stream
        assert stream is not None
        return stream


def _short(reason: str) -> str:
    """A reason cut to what a close frame holds; the cut keeps whole characters."""
    return reason.encode()[:REASON_BYTES].decode(errors="ignore")
