"""A client that only reads a channel, by server-sent events."""

import asyncio
import random
from collections.abc import Callable

from tornado.iostream import IOStream

from gischat.broker.access_keys import AccessKey
from gischat.front.channel.room import Room
from gischat.front.connection.event_stream import KEEP_ALIVE, EventEncoder, event, retry
from gischat.front.connection.socket_writer import SocketWriter
from gischat.front.limits.memory_budget import MemoryBudget
from gischat.front.transport import tcp_info
from gischat.front.transport.write_scheduler import unbound_kernel
from gischat.observability import metrics
from gischat.observability.metrics import CloseReason
from gischat.protocol.messages import now

RETRY = 3000  # milliseconds until a reader reconnects
RETRY_SPREAD = 4000  # … plus up to so many at random if the server closed it, so that not all reconnect at once


class EventReader(SocketWriter):
    """A reader in a room: it receives the history and all later messages, and does not count as a user.

    It cannot answer pings; it is alive as long as its system acknowledges what is sent.
    """

    __slots__ = ("_encoder", "access_key", "address", "connected_at", "id", "is_draining", "nickname", "room")

    is_event_stream = True
    KEEP_ALIVE = KEEP_ALIVE

    def __init__(
        self,
        room: Room,
        stream: IOStream,
        close: Callable[[int, str], None],
        *,
        id: int,
        encoder: EventEncoder,
        memory: MemoryBudget,
        max_unread_bytes: int,
        address: str,
    ) -> None:
        """Create a reader; `room.join` starts it.

        Args:
            encoder: shared by all readers.
            stream, close, max_unread_bytes: see `SocketWriter`.
        """
        super().__init__(stream, close, room.fanout, memory, max_unread_bytes)
        self.room = room
        self.id = id
        self.nickname: str | None = None
        self.access_key: AccessKey | None = None
        self.address = address
        self.connected_at = now()
        self.is_draining = False
        self._encoder = encoder
        self._write(retry(RETRY))

    @property
    def log_fields(self) -> dict[str, object]:
        return {"connection": self.id, "channel": self.room.channel}

    def write(self, data: bytes) -> None:
        """Send websocket frames as events."""
        super().write(self._encoder.encode(data))

    @property
    def awaiting_pong(self) -> bool:
        return (
            self._ping is not None and not self.is_gone and not tcp_info.is_delivered(self._stream.socket, self._ping)
        )

    def kick(self, code: int, reason: str, told: str = "") -> None:
        metrics.CONNECTIONS_CLOSED.labels(CloseReason.MODERATOR).inc()
        self.close(code, reason, told)

    def _goodbye(self, body: bytes) -> bytes:
        return event(body) + retry(RETRY + random.randrange(RETRY_SPREAD))

    def on_socket_closed(self) -> None:
        self.room.leave(self)

    # A reader has no nickname, and requests none.

    def grant_nickname(self, newcomer: bytes) -> None: ...

    def restore_nickname(self) -> None: ...

    def retry_nickname(self) -> None: ...

    def yield_nickname(self) -> None: ...


def close_when_written(stream: IOStream, patience: float) -> None:
    """Close a stream after all buffered data is written, or after `patience` seconds."""
    if not stream.closed():
        unbound_kernel(stream)
        stream.write(b"").add_done_callback(lambda _: stream.close())
        asyncio.get_running_loop().call_later(patience, stream.close)
