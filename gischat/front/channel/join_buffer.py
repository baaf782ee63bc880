"""Join: history first, then live messages, without gaps, duplicates or reordering.

From the start, all publications are buffered for a joiner. The history is sent once the room has received every message
in it: messages that are also buffered are left out of the history, and the buffer follows, in the order of publication.
(The offset at which the history was read is not enough: after Redis lost its last second, offsets continue from an
earlier one, and lost messages are published again under others.)
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from gischat.broker.access_keys import AccessKey
from gischat.broker.history import Snapshot
from gischat.front.channel.fanout import Receiver
from gischat.front.close_status import HISTORY_TIMEOUT
from gischat.front.transport.frames import PIECE_BYTES, joined, text_frame
from gischat.observability import metrics
from gischat.observability.metrics import CloseReason
from gischat.protocol.messages import uncompliant

MAX_BUFFERED_BYTES = 64 * 2**20  # per joiner, while it waits for its history

MISSED = "What you missed is no longer kept: some messages may be missing. The last ones follow."


class JoinHistory(Snapshot):
    """The stored messages for joiners."""

    @cached_property
    def _made(self) -> list[bytes]:
        return []

    @property
    def frames(self) -> list[bytes]:
        """All messages as frames, made once for all who join together."""
        self._made.extend(map(text_frame, self.history[len(self._made) :]))
        return self._made

    async def make_frames(self) -> None:
        """Make the frames; other tasks run after each large one."""
        while len(self._made) < len(self.history):
            self._made.append(text_frame(self.history[len(self._made)]))
            if len(self._made[-1]) > PIECE_BYTES:
                await asyncio.sleep(0)

    @cached_property
    def writes(self) -> list[bytes]:
        """The frames as they are written for all."""
        return joined(self.frames)


class Member(Receiver, Protocol):
    """A room's interface to a connection."""

    id: int
    nickname: str | None  # registered one
    address: str
    access_key: AccessKey | None  # that it came with, in its instance's address
    connected_at: int  # seconds since the epoch
    is_event_stream: bool  # it only reads: it is nobody's company, and no count includes it
    is_draining: bool

    last_received_at: float  # time of the last bytes received, by the loop's clock

    @property
    def awaiting_pong(self) -> bool:
        """Whether nothing has been received since a ping."""

    def pong_overdue(self, seconds: float) -> bool:
        """Whether a ping has been unanswered for so long."""

    @property
    def is_peer_unreachable(self) -> bool: ...

    def ping(self) -> None: ...

    def close(self, code: int, reason: str, told: str = "") -> None:
        """Tell the user why, by default with the reason, and close the connection."""

    def kick(self, code: int, reason: str, told: str = "") -> None:
        """Close the connection without publishing its pending messages."""

    def restore_nickname(self) -> None:
        """Restore the nickname in Redis after a loss."""

    def grant_nickname(self, newcomer: bytes) -> None:
        """The client got the nickname that it waited for."""

    def retry_nickname(self) -> None:
        """Request the nickname again, if the connection waits for one."""

    def yield_nickname(self) -> None:
        """Give up the nickname to the client that waits for it, and wait for it in turn."""


@dataclass(slots=True)
class JoinBuffer:
    """A joiner: a connection with the messages buffered for it."""

    member: Member
    count_version: int  # the first version of the user count that includes it
    since: float  # time of joining, by the loop's clock
    after: bytes | None = None  # id of the last message that the client has, if it reconnects
    replay: Sequence[bytes] | None = None  # frames that it has missed since then, joined, if known
    snapshot: JoinHistory | None = None
    has_history: bool = False
    has_count: bool = False  # a count that includes it has been sent
    _buffered: list[tuple[bytes | None, bytes]] = field(default_factory=list)  # id (None: a count) and frame, in order
    _buffered_bytes: int = 0

    def write(self, id: bytes | None, frame: bytes) -> None:
        """Send a publication, or buffer it until the history has been sent."""
        if self.has_history:
            self.member.write(frame)
            return
        if self._buffered_bytes > MAX_BUFFERED_BYTES:
            return  # it is closing
        self._buffered.append((id, frame))
        self._buffered_bytes += len(frame)
        if self._buffered_bytes > MAX_BUFFERED_BYTES:
            metrics.CONNECTIONS_CLOSED.labels(CloseReason.HISTORY_TIMEOUT).inc()
            self.member.close(*HISTORY_TIMEOUT)

    def send_replay(self, missed: Sequence[bytes]) -> int:
        """Send the frames of all missed messages up to now, which include the buffered ones except counts.

        Returns the number of bytes.
        """
        counts = [frame for id, frame in self._buffered if id is None]
        self._send([*missed, *counts])
        return sum(map(len, missed))

    def send_history(self) -> int:
        """Send the history and the buffered messages; returns the number of bytes of the history sent."""
        assert self.snapshot is not None
        live = {id for id, _ in self._buffered}
        history = self.snapshot.writes
        if not live.isdisjoint(self.snapshot.ids):
            frames = zip(self.snapshot.ids, self.snapshot.frames, strict=True)
            history = [frame for id, frame in frames if id not in live]
        missing = [] if self.after is None else [text_frame(uncompliant(MISSED))]
        self._send([*missing, *history, *(frame for _, frame in self._buffered)])
        return sum(map(len, history))

    def _send(self, frames: list[bytes]) -> None:
        """Send all that it has missed. Usually that is the history alone, whose bytes all share who join together."""
        self.has_history = True
        self._buffered.clear()
        for data in joined(frames):
            self.member.write(data)
