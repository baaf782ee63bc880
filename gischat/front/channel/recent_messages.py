"""Replay buffer: a channel's recent messages as frames, for clients that reconnect."""

import asyncio
import math
from collections import deque
from collections.abc import Container, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from gischat.broker.scripts import SINCE_BYTES
from gischat.front.limits.memory_budget import MemoryBudget
from gischat.front.transport.frames import joined
from gischat.timings import Timings

ENTRY_BYTES = 300  # Python's overhead per entry, besides its frame
MAX_BYTES = SINCE_BYTES + 10_000 * ENTRY_BYTES


class RecentMessage(NamedTuple):
    """A publication; the frame is empty if not everyone gets it (any more), but a client may have its id."""

    at: float  # by the loop's clock
    id: bytes
    frame: bytes


class _Index(NamedTuple):
    number: int  # of entries before it
    end: int  # bytes of all frames so far, including this one


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
            memory: counts the buffered bytes.
        """
        self.max_bytes = max_bytes
        self._max_entries = max_entries
        self._memory = memory
        self._timings = timings
        self._entries: deque[RecentMessage] = deque()
        self._dropped = 0  # total number of dropped entries
        self._places: dict[bytes, _Index] = {}
        self._bytes = 0  # currently buffered
        self._end = 0  # total bytes of all frames ever
        self._joined: tuple[bytes, int, list[bytes]] | None = None  # the last answer of `since`: id, end, frames
        self.floor = 0
        self.reaches_back = False
        self.version = 0
        self.settled_at = -math.inf

    def __contains__(self, id: bytes) -> bool:
        return self.size_since(id) is not None

    def reset(self, floor: int, intact: float = math.inf) -> None:
        """Start anew after the publication `floor`; earlier ones may be in Redis.

        Args:
            intact: seconds since Redis last lost data; after a recent loss, messages are still being replayed.
        """
        self._clear()
        self.floor, self.reaches_back = floor, False
        self.settled_at = max(self.settled_at, self._now() + self._timings.settling - intact)

    def on_state_lost(self) -> None:
        """Clear the buffer after a loss in Redis, and record nothing until `settled_at`.

        Each front replays its lost messages by itself, so meanwhile the order of publications is not the original one,
        and those after a message are not all that a client with that message has missed.
        """
        self._clear()
        self.reaches_back = True
        self.settled_at = self._now() + self._timings.settling

    def record(self, id: bytes, frame: bytes = b"") -> None:
        """Append the next publication that has an id or a frame for everyone."""
        now = self._now()
        self._append(RecentMessage(now, id, frame))
        self._trim(now)

    def extend_back(self, entries: Iterable[RecentMessage]) -> None:
        """Prepend the publications that Redis retains up to the floor, oldest first."""
        if self.reaches_back:
            return
        newer = list(self._entries)
        self._clear()
        for entry in (*entries, *newer):
            self._append(entry)
        self.reaches_back = True
        self._trim(self._now())

    def delete_messages(self, ids: Container[bytes] | None) -> None:
        """Empty the frames of these messages (None: all so far), which are not replayed any more; positions stay."""
        kept = list(self._entries)
        reaches_back = self.reaches_back
        self._clear()
        for entry in kept:
            self._append(entry._replace(frame=b"") if ids is None or entry.id in ids else entry)
        self.reaches_back = reaches_back

    def size_since(self, id: bytes) -> int | None:
        """The bytes of all frames after the message with that id; None if unknown."""
        self._trim(self._now())
        place = self._places.get(id)
        return None if place is None else self._end - place.end

    def since(self, id: bytes) -> Sequence[bytes] | None:
        """The frames after the message with that id, joined for few writes; None if unknown.

        Clients that reconnect together, as after a proxy's restart, share the same bytes.
        """
        if self.size_since(id) is None:
            return None
        if self._joined is None or self._joined[:2] != (id, self._end):
            newer = self._dropped + len(self._entries) - self._places[id].number - 1
            frames = [entry.frame for entry in islice(reversed(self._entries), newer)]
            self._joined = id, self._end, joined(filter(None, reversed(frames)))
        return self._joined[2]

    def _append(self, entry: RecentMessage) -> None:
        self._entries.append(entry)
        self._bytes += len(entry.frame) + ENTRY_BYTES
        self._end += len(entry.frame)
        # An id that occurs twice (see `Deduplicator.changes_presence`) is no unambiguous position.
        if entry.id and self._places.pop(entry.id, None) is None:
            self._places[entry.id] = _Index(self._dropped + len(self._entries) - 1, self._end)
        self._joined = None
        if self._memory is not None:
            self._memory.account(len(entry.frame) + ENTRY_BYTES)

    def _trim(self, now: float) -> None:
        """Drop entries beyond the limits; the newest one stays until it is too old."""
        while self._entries and (
            self._entries[0].at < now - self._timings.ids
            or (len(self._entries) > 1 and (self._bytes > self.max_bytes or len(self._entries) > self._max_entries))
        ):
            self._drop()
            self.reaches_back = True  # Redis retains no more either

    def _drop(self) -> None:
        entry = self._entries.popleft()
        place = self._places.get(entry.id)
        if place is not None and place.number == self._dropped:  # else the id occurred again
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
