"""A position in a channel's outbox, for readers at their own pace; stored for the next process.

The outbox is the backlog, with its own bounds (`MAX_OUTBOX_…`); publications that are trimmed unread are counted.
"""

from collections.abc import Sequence

from gischat.bridges.store import BridgeStore, Position
from gischat.broker.outbox import Entry, Outbox

STREAM_START = b"0-0"
PAGE = 20  # entries per read: a picture or layer may have megabytes


class OutboxCursor:
    """The position in one channel. Methods that use Redis raise ConnectionError, Unavailable or RedisError."""

    def __init__(self, channel: str, outbox: Outbox, store: BridgeStore) -> None:
        self._channel = channel
        self._outbox = outbox
        self._store = store
        self._position = Position(STREAM_START, 0)

    async def load(self) -> None:
        """Load the stored position; without one, start at the end, so that earlier messages are not sent."""
        position = await self._store.channel_position(self._channel)
        if position is None:
            newest = await self._outbox.last_entry(self._channel)
            position = Position(newest.id, newest.publication.offset) if newest else self._position
            await self._store.save_channel_position(self._channel, position)
        self._position = position

    async def read(self) -> Sequence[Entry]:
        """Read the next entries, oldest first."""
        return await self._outbox.entries_after(self._channel, self._position.entry, PAGE)

    def missed_before(self, entry: Entry) -> int:
        """The number of publications that were trimmed unread before this entry, the next; with it if lost."""
        return max(entry.publication.offset - self._position.offset - 1, 0) + entry.publication.is_lost

    def advance(self, entry: Entry) -> None:
        """Mark the entry as done."""
        publication = entry.publication
        self._position = Position(entry.id, self._position.offset if publication.is_foreign else publication.offset)

    async def save(self) -> None:
        await self._store.save_channel_position(self._channel, self._position)

    async def rewind(self) -> None:
        """Start at the outbox's beginning if all of its entries precede the position: Redis was replaced."""
        newest = await self._outbox.last_entry(self._channel)
        if newest is not None and sort_key(newest.id) < sort_key(self._position.entry):
            self._position = Position(STREAM_START, newest.publication.offset)


def sort_key(entry: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry.partition(b"-")
    return int(milliseconds), int(number)
