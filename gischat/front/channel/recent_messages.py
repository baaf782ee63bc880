"""What a channel's clients were told lately, as it went over the wire: replayed to those that come back."""

import asyncio
import math
from collections import deque
from collections.abc import Container, Iterable
from itertools import islice
from typing import NamedTuple

from gischat.broker.scripts import SINCE_BYTES
from gischat.front.limits.memory_budget import MemoryBudget
from gischat.timings import Timings

ENTRY_BYTES = 300  # that Python needs for an entry, beside its frame
MAX_BYTES = SINCE_BYTES + 10_000 * ENTRY_BYTES


class RecentMessage(NamedTuple):
    """A publication; the frame is empty where not everyone gets it (any more), but somebody may have its id."""

    at: float  # by the loop's clock
    id: bytes
    frame: bytes


class _Index(NamedTuple):
    number: int  # of entries that came before
    end: int  # bytes of all frames so far, this one included


class RecentMessages:
    """The newest publications of a channel in their order, without a hole, bounded in bytes, number and age.

    It holds no more than Redis could tell (see `History.retained`), so it never has to be asked for what was dropped
    here. `reaches_back` is whether it holds all that Redis could tell; `floor` is the number of the last publication
    before it; `version` changes whenever something else than the next publication happens to it.
    """

    def __init__(
        self,
        *,
        max_bytes: int = MAX_BYTES,
        max_entries: int = 10_000,
        memory: MemoryBudget | None = None,
        timings: Timings = Timings(),
    ) -> None:
        """
        Args:
            memory: counts what is held.
        """
        self.max_bytes = max_bytes
        self._max_entries = max_entries
        self._memory = memory
        self._timings = timings
        self._entries: deque[RecentMessage] = deque()
        self._dropped = 0  # entries, ever
        self._places: dict[bytes, _Index] = {}
        self._bytes = 0  # that are held
        self._end = 0  # bytes of all frames, ever
        self._joined: tuple[bytes, int, bytes] | None = None  # what was asked for last: after which id, up to which end
        self.floor = 0
        self.reaches_back = False
        self.version = 0
        self.settled_at = -math.inf

    def __contains__(self, id: bytes) -> bool:
        return self.size_since(id) is not None

    def reset(self, floor: int, intact: float = math.inf) -> None:
        """The next publication is the one after that number; what came before is not here, and may be in Redis.

        Args:
            intact: for how many seconds Redis has not lost anything; what it had lost then is still being said again.
        """
        self._clear()
        self.floor, self.reaches_back = floor, False
        self.settled_at = max(self.settled_at, self._now() + self._timings.settling - intact)

    def on_state_lost(self) -> None:
        """Redis has lost something. It is said again by each front for itself: what stands behind a message is not all
        that came after. So what came before does not count any more, nor shall be recorded what is published before
        `settled_at`."""
        self._clear()
        self.reaches_back = True
        self.settled_at = self._now() + self._timings.settling

    def record(self, id: bytes, frame: bytes = b"") -> None:
        """The next publication that has an id, or a frame for everyone."""
        now = self._now()
        self._append(RecentMessage(now, id, frame))
        self._trim(now)

    def extend_back(self, entries: Iterable[RecentMessage]) -> None:
        """What Redis has of the time up to the floor, oldest first; from then on all is here that it could tell."""
        if self.reaches_back:
            return
        newer = list(self._entries)
        self._clear()
        for entry in (*entries, *newer):
            self._append(entry)
        self.reaches_back = True
        self._trim(self._now())

    def delete_messages(self, ids: Container[bytes] | None) -> None:
        """These messages (None: all so far) are told nobody any more; they keep their places."""
        kept = list(self._entries)
        reaches_back = self.reaches_back
        self._clear()
        for entry in kept:
            self._append(entry._replace(frame=b"") if ids is None or entry.id in ids else entry)
        self.reaches_back = reaches_back

    def size_since(self, id: bytes) -> int | None:
        """The bytes that were told everyone after the message of that id; None where that is not known."""
        self._trim(self._now())
        place = self._places.get(id)
        return None if place is None else self._end - place.end

    def since(self, id: bytes) -> bytes | None:
        """The frames of what was told everyone after the message of that id; None where that is not known.

        Those that come back together, as after a proxy's restart, get the same bytes.
        """
        if self.size_since(id) is None:
            return None
        if self._joined is None or self._joined[:2] != (id, self._end):
            newer = self._dropped + len(self._entries) - self._places[id].number - 1
            frames = [entry.frame for entry in islice(reversed(self._entries), newer)]
            self._joined = id, self._end, b"".join(reversed(frames))
        return self._joined[2]

    def _append(self, entry: RecentMessage) -> None:
        self._entries.append(entry)
        self._bytes += len(entry.frame) + ENTRY_BYTES
        self._end += len(entry.frame)
        # What came twice (see `Deduplicator.changes_presence`) says no more what somebody has who has it.
        if entry.id and self._places.pop(entry.id, None) is None:
            self._places[entry.id] = _Index(self._dropped + len(self._entries) - 1, self._end)
        self._joined = None
        if self._memory is not None:
            self._memory.account(len(entry.frame) + ENTRY_BYTES)

    def _trim(self, now: float) -> None:
        """The newest stays as long as it is not too old."""
        while self._entries and (
            self._entries[0].at < now - self._timings.ids
            or (len(self._entries) > 1 and (self._bytes > self.max_bytes or len(self._entries) > self._max_entries))
        ):
            self._drop()
            self.reaches_back = True  # nor would Redis tell more

    def _drop(self) -> None:
        entry = self._entries.popleft()
        place = self._places.get(entry.id)
        if place is not None and place.number == self._dropped:  # else it came again
            del self._places[entry.id]
        self._dropped += 1
        self._bytes -= len(entry.frame) + ENTRY_BYTES
        if self._memory is not None:
            self._memory.account(-len(entry.frame) - ENTRY_BYTES)

    def _clear(self) -> None:
        while self._entries:
            self._drop()
        self._joined = None
        self.version += 1

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
