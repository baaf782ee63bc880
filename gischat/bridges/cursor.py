"""A place in a channel's outbox: read at the pace of who passes on what is there, and kept for the next process.

The outbox is the backlog, with its own bounds (`MAX_OUTBOX_…`): what falls out of it unread is counted.
"""

from collections.abc import Sequence

from gischat.bridges.store import BridgeStore, Position
from gischat.broker.outbox import Entry, Outbox

STREAM_START = b"0-0"
PAGE = 20  # entries that are read at a time: a picture or a layer may have megabytes


class OutboxCursor:
    """Of one channel. All that asks Redis raises ConnectionError, Unavailable, RedisError."""

    def __init__(self, channel: str, outbox: Outbox, store: BridgeStore) -> None:
        self._channel = channel
        self._outbox = outbox
        self._store = store
        self._position = Position(STREAM_START, 0)

    async def load(self) -> None:
        """Goes where an earlier process was; at first, to the end: what was said before is not passed on."""
        position = await self._store.channel_position(self._channel)
        if position is None:
            newest = await self._outbox.last_entry(self._channel)
            position = Position(newest.id, newest.publication.offset) if newest else self._position
            await self._store.save_channel_position(self._channel, position)
        self._position = position

    async def read(self) -> Sequence[Entry]:
        """What comes next, oldest first."""
        return await self._outbox.entries_after(self._channel, self._position.entry, PAGE)

    def missed_before(self, entry: Entry) -> int:
        """How many publications were trimmed unread between the place and the entry, which comes next."""
        return max(entry.publication.offset - self._position.offset - 1, 0)

    def advance(self, entry: Entry) -> None:
        """The entry is done with."""
        self._position = Position(entry.id, entry.publication.offset)

    async def save(self) -> None:
        await self._store.save_channel_position(self._channel, self._position)

    async def rewind(self) -> None:
        """Goes to the outbox's beginning, where all that Redis has comes before the place: it is another Redis."""
        newest = await self._outbox.last_entry(self._channel)
        if newest is not None and sort_key(newest.id) < sort_key(self._position.entry):
            self._position = Position(STREAM_START, newest.publication.offset)


def sort_key(entry: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry.partition(b"-")
    return int(milliseconds), int(number)
