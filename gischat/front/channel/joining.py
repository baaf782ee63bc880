"""Joining a room: history first, then live messages, without gaps or duplicates."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from gischat.broker.history import History, Snapshot
from gischat.front.channel.cache import ReadPacer
from gischat.front.channel.deduplicator import Deduplicator
from gischat.front.channel.history_loader import HistoryLoader
from gischat.front.channel.join_buffer import JoinBuffer, Member
from gischat.front.channel.recent_messages import RecentMessages
from gischat.front.channel.user_count import UserCount
from gischat.front.dispatch.stream_position import StreamPosition
from gischat.observability.metrics import BufferedCounter
from gischat.timings import Timings


class Joining:
    """The joiners of one channel, each with a buffer until it has its history and is included in the count."""

    def __init__(
        self,
        channel: str,
        history: History,
        position: StreamPosition,
        deduplicator: Deduplicator,
        recent: RecentMessages,
        user_count: UserCount,
        replays: ReadPacer,
        admit: Callable[[JoinBuffer], None],
        sent_bytes: BufferedCounter,
        timings: Timings,
    ) -> None:
        """
        Args:
            replays: the pace of replays, in all rooms together.
            admit: takes a joiner that has its history and is included in the count.
        """
        self._joiners: dict[Member, JoinBuffer] = {}
        self._recent_joins: deque[tuple[float, Member]] = deque()  # (time of the history, member)
        self._position = position
        self._deduplicator = deduplicator
        self._recent = recent
        self._user_count = user_count
        self._admit = admit
        self._sent_bytes = sent_bytes
        self._redis_loss = timings.redis_loss
        self._histories = HistoryLoader(
            channel, history, self._joiners, position, recent, replays, self._promote, timings
        )
        self.stored = self._histories.stored

    def add(self, member: Member, count_version: int, after: str | None) -> None:
        """Start joining a connection, which counts from that version on include; see `Room.join`."""
        joiner = JoinBuffer(member, count_version, _now(), None if after is None else after.encode())
        self._joiners[member] = joiner
        self._histories.start(joiner)

    def discard(self, member: Member) -> None:
        """Remove a joiner, if present."""
        self._joiners.pop(member, None)

    def write(self, frames: Sequence[tuple[bytes, bytes]]) -> None:
        """Send publications (id, frame) to all joiners, or buffer them until the history has been sent."""
        for joiner in list(self._joiners.values()):
            for id, frame in frames:
                joiner.write(id, frame)

    def write_count(self, frame: bytes) -> int:
        """Send the count to the joiners that it includes; returns their number."""
        counted = [joiner for joiner in self._joiners.values() if self._is_counted(joiner)]
        for joiner in counted:
            joiner.write(None, frame)
            joiner.has_count = True
        return len(counted)

    def promote(self) -> None:
        """Promote joiners as far as possible, after a delivery."""
        for joiner in list(self._joiners.values()):
            self._promote(joiner)

    def on_state_lost(self, connections: Mapping[int, Member], notice: bytes) -> None:
        """After a loss in Redis, read histories again, and send a notice (if not empty) to recent joiners."""
        now = _now()
        for at, member in self._recent_joins:
            if notice and at > now - self._redis_loss and member.id in connections:
                member.write(notice)
        self._recent_joins.clear()
        for joiner in self._joiners.values():
            joiner.snapshot = None

    def _is_counted(self, joiner: JoinBuffer) -> bool:
        return joiner.count_version <= self._user_count.published_version

    def _promote(self, joiner: JoinBuffer) -> None:
        """Send the history if possible; admit the joiner if it has its history and is included in the count."""
        if not joiner.has_history:
            self._send_history(joiner)
        if joiner.has_history and self._is_counted(joiner):
            del self._joiners[joiner.member]
            self._admit(joiner)

    def _send_history(self, joiner: JoinBuffer) -> None:
        # When the client reconnected, its last message may have been newer than all that this front had received.
        missed = joiner.replay
        if missed is None and joiner.snapshot is not None and joiner.after is not None:
            missed = self._recent.since(joiner.after)
        if missed is not None:
            self._sent_bytes.total += joiner.send_replay(missed)
        elif joiner.snapshot is not None and self._has_delivered(joiner.snapshot, joiner.since):
            self._sent_bytes.total += joiner.send_history()
            self._record(joiner.member)

    def _record(self, member: Member) -> None:
        now = _now()
        self._recent_joins.append((now, member))
        while self._recent_joins[0][0] < now - self._redis_loss:
            self._recent_joins.popleft()

    def _has_delivered(self, snapshot: Snapshot, since: float) -> bool:
        """Whether no message of a history can still be delivered.

        Some of them are never received: those trimmed before, or older than the deduplicator remembers.
        """
        if self._position.offset < snapshot.offset:
            return False
        if all(id in self._deduplicator for id in reversed(snapshot.ids)):
            return True
        now = _now()
        if now < since + self._redis_loss:
            return False
        self._deduplicator.seed({id: 0.0 for id in snapshot.ids if id not in self._deduplicator}, now)
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()
