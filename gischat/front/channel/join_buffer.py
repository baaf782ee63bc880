"""A connection's way in: no hole, nothing twice, and everything in its order.

From its first moment all that is published waits for it. Its history is sent as soon as the room has heard every
message in it: then what of the history waits as well is left out of the history, and what waits follows, in the order
in which it was published. (The number of publications when it was read would not do: a Redis that lost its last second
counts on from an earlier number, and what it had lost comes under others.)
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from gischat.broker.history import Snapshot
from gischat.front.channel.fanout import Receiver
from gischat.front.close_status import HISTORY_TIMEOUT
from gischat.front.transport.frames import text_frame
from gischat.observability import metrics
from gischat.observability.metrics import CloseReason
from gischat.protocol.messages import id_of, uncompliant

MAX_BUFFERED_BYTES = 64 * 2**20  # of what waits for one joiner's history, at the most

MISSED = "What you missed is no longer kept: some messages may be missing. The last ones follow."


class JoinHistory(Snapshot):
    """What a joiner is told first."""

    @cached_property
    def frames(self) -> bytes:
        """All messages, as they go over the wire: made once for all who join together."""
        return b"".join(map(text_frame, self.history))


class Member(Receiver, Protocol):
    """What a room needs of a connection."""

    id: int
    nickname: str | None  # that it is registered under
    address: str  # that it comes from
    connected_at: int  # when it came, in seconds since the epoch
    is_draining: bool

    last_received_at: float  # when bytes came from it last, by the loop's clock

    @property
    def awaiting_pong(self) -> bool:
        """Whether nothing at all has come since a ping."""

    def pong_overdue(self, seconds: float) -> bool:
        """Whether a ping was not answered for so long."""

    @property
    def is_peer_unreachable(self) -> bool: ...

    def ping(self) -> None: ...

    def close(self, code: int, reason: str, told: str = "") -> None:
        """Tells its user why, by default in the words of the reason, and closes it."""

    def kick(self, code: int, reason: str, told: str = "") -> None:
        """Closes it, and publishes nothing of what it has sent that waits its turn."""

    def restore_nickname(self) -> None:
        """Tells Redis again what it has lost of this connection."""

    def grant_nickname(self, newcomer: bytes) -> None:
        """The nickname that it waited for is its own now."""

    def retry_nickname(self) -> None:
        """Asks once more for the nickname that it waits for, if it does."""

    def yield_nickname(self) -> None:
        """Gives its nickname to whoever waits for it, and waits for it in turn."""


@dataclass(slots=True)
class JoinBuffer:
    """A connection on its way in."""

    member: Member
    count_version: int  # the version of the user count that it made: earlier counts do not know of it
    since: float  # when it came, by the loop's clock
    after: bytes | None = None  # the id of the message that it had last, if it comes back
    replay: bytes | None = None  # the frames that it has missed since, where that is known
    snapshot: JoinHistory | None = None
    has_history: bool = False
    has_count: bool = False  # it was told a count that includes it
    _buffered: list[tuple[bytes | None, bytes]] = field(default_factory=list)  # id (None: a count) and frame, in order
    _buffered_bytes: int = 0

    def write(self, id: bytes | None, frame: bytes) -> None:
        """Sends what was published, or keeps it until the history has been sent."""
        if self.has_history:
            self.member.write(frame)
            return
        if self._buffered_bytes > MAX_BUFFERED_BYTES:
            return  # it is being closed
        self._buffered.append((id, frame))
        self._buffered_bytes += len(frame)
        if self._buffered_bytes > MAX_BUFFERED_BYTES:
            metrics.CONNECTIONS_CLOSED.labels(CloseReason.HISTORY_TIMEOUT).inc()
            self.member.close(*HISTORY_TIMEOUT)

    def send_replay(self, missed: bytes) -> int:
        """Sends the frames of all that it missed, up to now: what waits for it is among them, but for counts.

        Returns their bytes.
        """
        self.has_history = True
        counts = b"".join(frame for id, frame in self._buffered if id is None)
        self._buffered.clear()
        if missed or counts:
            self.member.write(missed + counts if counts else missed)
        return len(missed)

    def send_history(self) -> int:
        """Sends the history, and what waits. Returns the bytes of the history that were sent."""
        assert self.snapshot is not None
        self.has_history = True
        live = {id for id, _ in self._buffered}
        history = self.snapshot.frames
        if live and any(id_of(body) in live for body in self.snapshot.history):
            history = b"".join(text_frame(body) for body in self.snapshot.history if id_of(body) not in live)
        missing = b"" if self.after is None else text_frame(uncompliant(MISSED))
        since = b"".join(frame for _, frame in self._buffered)
        self._buffered.clear()
        if missing or history or since:
            # As a rule there is only a history, and that is the same bytes for all who join together.
            self.member.write(missing + history + since if missing or since else history)
        return len(history)
