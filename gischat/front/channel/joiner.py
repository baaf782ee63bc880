"""A connection's way in: no hole, nothing twice, and everything in its order.

From its first moment all that is published waits for it. Its history is sent as soon as the room has heard every
message in it: then what of the history waits as well is left out of the history, and what waits follows, in the order
in which it was published. (The number of publications when it was read would not do: a Redis that lost its last second
counts on from an earlier number, and what it had lost comes under others.)
"""

from dataclasses import dataclass, field
from typing import Protocol

from gischat import metrics
from gischat.front.channel.audience import Listener
from gischat.front.channel.closing import HISTORY_TIMEOUT
from gischat.front.jobs.gateway import Snapshot
from gischat.front.sockets.frames import text_frame
from gischat.messages import id_of, uncompliant
from gischat.metrics import Closing

WAITING_BYTES = 64 * 2**20  # of what waits for one joiner's history, at the most

MISSED = "What you missed is no longer kept: some messages may be missing. The last ones follow."


class Member(Listener, Protocol):
    """What a room needs of a connection."""

    number: int
    nickname: str | None  # that it is registered under
    address: str  # that it comes from
    since: int  # when it came, in seconds since the epoch
    is_draining: bool

    last_heard: float  # when bytes came from it last, by the loop's clock

    @property
    def owes_answer(self) -> bool:
        """Whether nothing at all has come since a ping."""

    def is_silent(self, seconds: float) -> bool:
        """Whether a ping was not answered for so long."""

    @property
    def is_unreachable(self) -> bool: ...

    def ping(self) -> None: ...

    def close(self, code: int, reason: str, told: str = "") -> None:
        """Tells its user why, by default in the words of the reason, and closes it."""

    def dismiss(self, code: int, reason: str, told: str = "") -> None:
        """Closes it, and publishes nothing of what it has sent that waits its turn."""

    def restore(self) -> None:
        """Tells Redis again what it has lost of this connection."""

    def grant(self, newcomer: bytes) -> None:
        """The nickname that it waited for is its own now."""

    def wish_again(self) -> None:
        """Asks once more for the nickname that it waits for, if it does."""

    def yield_nickname(self) -> None:
        """Gives its nickname to whoever waits for it, and waits for it in turn."""


@dataclass(slots=True)
class Joiner:
    """A connection on its way in."""

    member: Member
    change: int  # the head count's change that it made: earlier counts do not know of it
    since: float  # when it came, by the loop's clock
    after: bytes | None = None  # the id of the message that it had last, if it comes back
    snapshot: Snapshot | None = None
    has_history: bool = False
    has_count: bool = False  # it was told a count that includes it
    _waiting: list[tuple[bytes | None, bytes]] = field(default_factory=list)  # id (None: a count) and frame, in order
    _waiting_bytes: int = 0

    def write(self, id: bytes | None, frame: bytes) -> None:
        """Sends what was published, or keeps it until the history has been sent."""
        if self.has_history:
            self.member.write(frame)
            return
        if self._waiting_bytes > WAITING_BYTES:
            return  # it is being closed
        self._waiting.append((id, frame))
        self._waiting_bytes += len(frame)
        if self._waiting_bytes > WAITING_BYTES:
            metrics.CONNECTIONS_CLOSED.labels(Closing.HISTORY_TIMEOUT).inc()
            self.member.close(*HISTORY_TIMEOUT)

    def send_missed(self, missed: bytes) -> int:
        """Sends the frames of all that it missed, up to now: what waits for it is among them, but for counts.

        Returns their bytes.
        """
        self.has_history = True
        counts = b"".join(frame for id, frame in self._waiting if id is None)
        self._waiting.clear()
        if missed or counts:
            self.member.write(missed + counts if counts else missed)
        return len(missed)

    def send_history(self) -> int:
        """Sends the history, and what waits. Returns the bytes of the history that were sent."""
        assert self.snapshot is not None
        self.has_history = True
        live = {id for id, _ in self._waiting}
        history = self.snapshot.frames
        if live and any(id_of(body) in live for body in self.snapshot.history):
            history = b"".join(text_frame(body) for body in self.snapshot.history if id_of(body) not in live)
        missing = b"" if self.after is None else text_frame(uncompliant(MISSED))
        since = b"".join(frame for _, frame in self._waiting)
        self._waiting.clear()
        if missing or history or since:
            # As a rule there is only a history, and that is the same bytes for all who join together.
            self.member.write(missing + history + since if missing or since else history)
        return len(history)
