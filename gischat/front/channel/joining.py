"""Everyone who is on the way into a room: the history first, then what is live, without a hole, nothing twice."""

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
    """The joiners of one channel, each with what waits for it until it has its history and is counted."""

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
            replays: the pace of what is replayed, in all rooms together.
            admit: takes in a joiner who has its history and is counted.
        """
        self._joiners: dict[Member, JoinBuffer] = {}
        self._recent_joins: deque[tuple[float, Member]] = deque()  # who got their history, and when
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
        """Somebody joins, whom counts from that version on include; see `Room.join`."""
        joiner = JoinBuffer(member, count_version, _now(), None if after is None else after.encode())
        self._joiners[member] = joiner
        self._histories.start(joiner)

    def discard(self, member: Member) -> None:
        """Lets somebody go, if it is here."""
        self._joiners.pop(member, None)

    def write(self, frames: Sequence[tuple[bytes, bytes]]) -> None:
        """Sends everyone what was published, by id, or keeps it until the history has been sent."""
        for joiner in list(self._joiners.values()):
            for id, frame in frames:
                joiner.write(id, frame)

    def write_count(self, frame: bytes) -> int:
        """Sends the count to those whom it includes. Returns how many."""
        counted = [joiner for joiner in self._joiners.values() if self._is_counted(joiner)]
        for joiner in counted:
            joiner.write(None, frame)
            joiner.has_count = True
        return len(counted)

    def promote(self) -> None:
        """Lets everyone go on as far as is possible after what was delivered."""
        for joiner in list(self._joiners.values()):
            self._promote(joiner)

    def on_state_lost(self, connections: Mapping[int, Member], notice: bytes) -> None:
        """Redis has lost something: histories are read again, and those who got theirs lately are told, by a notice
        that may be empty."""
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
        """Who has the history and is counted becomes a member like all others."""
        if not joiner.has_history:
            self._send_history(joiner)
        if joiner.has_history and self._is_counted(joiner):
            del self._joiners[joiner.member]
            self._admit(joiner)

    def _send_history(self, joiner: JoinBuffer) -> None:
        # The message that one had last may be newer than all that this front had heard when it came back.
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
        """Whether nothing in a history can come once more.

        Some of it may never be heard: what was trimmed before, or is older than what is remembered.
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
