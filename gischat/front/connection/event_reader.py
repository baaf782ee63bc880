"""A client that only reads: a channel's messages as server-sent events."""

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
from gischat.observability import metrics
from gischat.observability.metrics import CloseReason
from gischat.protocol.messages import now

RETRY = 3000  # milliseconds before a reader comes back
RETRY_SPREAD = 4000  # … and up to so many more where the server ended it: not all are to come at once


class EventReader(SocketWriter):
    """A reader in a room: it has the history and all that follows, and no part in the count of users.

    It answers no ping. That its system has taken what was sent is its sign of life.
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
        """
        Args:
            encoder: one for all readers.
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
        """Sends websocket frames, as events."""
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

    # It has no nickname, and asks for none.

    def grant_nickname(self, newcomer: bytes) -> None: ...

    def restore_nickname(self) -> None: ...

    def retry_nickname(self) -> None: ...

    def yield_nickname(self) -> None: ...


def close_when_written(stream: IOStream, patience: float) -> None:
    """Ends a stream behind all that waits in it; after so many seconds in any case."""
    if not stream.closed():
        stream.write(b"").add_done_callback(lambda _: stream.close())
        asyncio.get_running_loop().call_later(patience, stream.close)
