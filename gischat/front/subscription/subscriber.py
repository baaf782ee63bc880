"""The subscriber: reads the outboxes and passes publications on to the rooms.

It reads streams by position, so it continues where it was, whatever happens to the connection.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gischat.broker.bodies import is_reference
from gischat.broker.broker import Broker
from gischat.broker.outbox import READ_ENTRIES, Entry, OutboxReader
from gischat.broker.resp_errors import WRONG_TYPE, RedisError
from gischat.errors import Unavailable
from gischat.front.channel.deduplicator import MAX_SEEN_IDS
from gischat.front.channel.room import Room
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.transport.frames import PIECE_BYTES
from gischat.timings import Timings

log = logging.getLogger(__name__)

STREAM_START = b"0-0"
REWIND_ENTRIES = MAX_SEEN_IDS // 2  # to read again: few enough for the deduplicator to know those already delivered


class Watermark(NamedTuple):
    """An offset that was published at that loop time, and must be received soon."""

    offset: int
    since: float


class SubscriberStalled(Exception):
    """Publications do not arrive although Redis answers; the front has to stop."""


class Subscriber:
    """Reads the outboxes of all rooms."""

    def __init__(
        self,
        broker: Broker,
        readers: Sequence[OutboxReader],
        rooms: Mapping[str, Room],
        dispatcher: Dispatcher,
        timings: Timings = Timings(),
    ) -> None:
        self._broker = broker
        self._readers = readers
        self._rooms = rooms
        self._dispatcher = dispatcher
        self._timings = timings
        self._positions: dict[str, bytes] = {}
        self._watermarks: dict[str, Watermark] = {}
        self._lag_checked_at = math.inf
        self._damaged: set[str] = set()  # channels that cannot be read, because a key has a wrong type
        self._reconnected_for: set[str] = set()  # channels that have received nothing since a reconnection
        self._fetches: dict[str, asyncio.Task[None]] = {}  # of a large body, by channel, which is not read meanwhile

    async def seek_to_tail(self) -> None:
        """Start at the end of each outbox; wait for Redis as long as it takes."""
        for channel in self._rooms:
            while channel not in self._positions and channel not in self._damaged:
                try:
                    await self._seek_channel(channel)
                except (Unavailable, RedisError) as error:
                    log.debug("waiting for redis")
                    await self._look_for_damage([channel], error)
                    await asyncio.sleep(self._timings.retry)

    async def _seek_channel(self, channel: str) -> None:
        # All in one command: what is published in between would be neither known as seen nor received.
        newest, ids, intact = await self._broker.outbox.tail(channel, MAX_SEEN_IDS)
        self._rooms[channel].start_at(newest.publication.offset if newest else 0, ids, intact)
        self._positions[channel] = newest.id if newest else STREAM_START

    async def rewind(self, channel: str) -> None:
        """Read an outbox from an earlier position if all of its entries precede the current one.

        Entry ids contain the time. They precede the position if Redis lost its data and its clock was set back, or a
        machine with a slow clock replaced it; new publications would not be received until the clock has caught up.

        Raises:
            ConnectionError, Unavailable, RedisError: Redis did not answer.
        """
        newest = await self._broker.outbox.last_entry(channel)
        if newest is not None and _sort_key(newest.id) >= _sort_key(self._positions[channel]):
            self._cancel_fetch(channel)
            return
        entry_ids = await self._broker.outbox.newest_entry_ids(channel, REWIND_ENTRIES)
        self._cancel_fetch(channel)
        position = entry_ids[-1] if len(entry_ids) == REWIND_ENTRIES else STREAM_START
        if _sort_key(position) >= _sort_key(self._positions[channel]):
            return
        log.warning("the outbox's entries precede this front's position: reading it again", extra={"channel": channel})
        self._positions[channel] = position
        for reader in self._readers:
            if channel in reader.channels:
                reader.reconnect()  # its current read waits for entries after the old position

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for reader in self._readers:
                self._tasks.create_task(self._read(reader))

    async def _read(self, reader: OutboxReader) -> None:
        while True:
            # Not the time of the answer, which may have been waiting while this process was frozen.
            asked_at = asyncio.get_running_loop().time()
            try:
                await self._resume_repaired(reader)
                fetches = {channel: task for channel, task in self._fetches.items() if channel in reader.channels}
                left_out = self._damaged | fetches.keys()
                known = ((channel, self._positions.get(channel)) for channel in reader.channels)
                positions = {channel: entry_id for channel, entry_id in known if entry_id and channel not in left_out}
                if not positions:
                    pause = self._timings.read_fault_pause
                    await (asyncio.wait(fetches.values()) if fetches else asyncio.sleep(pause))
                    continue
                read = await reader.read(positions, self._timings.outbox_read_aside if fetches else None)
            except (ConnectionError, Unavailable, RedisError) as error:
                log.debug("the outboxes could not be read: %s", error)
                await self._look_for_damage(reader.channels, error)
                # Pause, so that errors that occur at once do not cause a busy loop.
                await asyncio.sleep(self._timings.read_pause)
                continue
            if self._is_rewound(positions):
                continue  # earlier entries come first
            for channel, entries in read:
                await self._take(channel, entries, positions[channel])
                if channel in self._fetches:
                    del positions[channel]
                else:
                    positions[channel] = entries[-1].id
            if self._is_rewound(positions):
                continue
            if all(len(entries) < READ_ENTRIES for _, entries in read):
                for channel in set(reader.channels) - fetches.keys() - self._fetches.keys():
                    room = self._rooms[channel]
                    room.caught_up_at = max(room.caught_up_at, asked_at)

    async def _take(self, channel: str, entries: Sequence[Entry], position: bytes) -> None:
        """Dispatch what was read after a position; yield to the event loop after each large message.

        From a reference to a large body on, the rest is dropped: it is read again when the body was fetched.
        If the channel is rewound meanwhile, the rest is dropped, since it is read again.
        """
        for some in _in_steps(entries):
            if self._is_rewound({channel: position}):
                return
            if is_reference(some[0].publication.body):
                self._fetches[channel] = self._tasks.create_task(self._fetch(channel, some[0]))
                return
            self._dispatch(channel, some)
            position = self._positions[channel] = some[-1].id
            if _is_large(some[-1]):
                await asyncio.sleep(0)

    async def _fetch(self, channel: str, entry: Entry) -> None:
        """Fetch the body of a publication, then dispatch it; other channels are read meanwhile."""
        while True:
            try:
                publication = await self._broker.bodies.complete(channel, entry.publication)
                break
            except (ConnectionError, Unavailable, RedisError) as error:
                log.debug("a body could not be read: %s", error)
                await asyncio.sleep(self._timings.read_pause)
        await asyncio.sleep(0)  # others' turn between joining its chunks and making its frame
        if publication.body:
            self._dispatch(channel, [entry._replace(publication=publication)])
        else:
            log.error("the body of a publication is missing", extra={"channel": channel})
            self._dispatcher.complete(publication)
            self._rooms[channel].skip_to(publication.offset)
        self._positions[channel] = entry.id
        del self._fetches[channel]

    def _cancel_fetch(self, channel: str) -> None:
        """Do not dispatch a publication from before a loss in Redis; one that Redis still has is read again."""
        if fetch := self._fetches.pop(channel, None):
            fetch.cancel()

    def _is_rewound(self, positions: Mapping[str, bytes]) -> bool:
        """Whether a channel is not at the position that it has reached by reading."""
        return any(self._positions[channel] != position for channel, position in positions.items())

    async def _look_for_damage(self, channels: Iterable[str], error: BaseException) -> None:
        """Find the channel that cannot be read, so that it does not prevent reading the others."""
        if str(error).startswith(WRONG_TYPE):
            with contextlib.suppress(ConnectionError, Unavailable, RedisError):
                self._damaged |= (await self._broker.inbox.find_damage(channels)).keys()

    async def _resume_repaired(self, reader: OutboxReader) -> None:
        if damaged := self._damaged & set(reader.channels):
            for channel in damaged - (await self._broker.inbox.find_damage(damaged)).keys():
                if channel not in self._positions:
                    await self._seek_channel(channel)
                self._damaged.discard(channel)

    async def skip_trimmed(self, channel: str, published: int) -> None:
        """Skip publications that the outbox does not contain any more, up to the offset `published`.

        Raises:
            ConnectionError, Unavailable, RedisError: Redis did not answer.
        """
        newest = await self._broker.outbox.last_entry(channel)
        if newest is None or _sort_key(newest.id) <= _sort_key(self._positions[channel]):
            self._rooms[channel].skip_to(published)

    def check_lag(self, received: Mapping[str, int], published: Mapping[str, int]) -> set[str]:
        """Compare, by channel, the offsets received with those that Redis reported afterwards.

        Returns the channels whose publications do not arrive: their entries may precede the position, or be missing.

        Raises:
            SubscriberStalled: publications do not arrive although Redis answers, even after reconnecting.
        """
        now = asyncio.get_running_loop().time()
        # Nothing arrives while Redis does not answer, and nothing is compared then: that time does not count.
        away = now - self._lag_checked_at - 2 * self._timings.lease_renewal
        if away > 0:
            self._watermarks = {name: mark._replace(since=mark.since + away) for name, mark in self._watermarks.items()}
        self._lag_checked_at = now
        late = {
            channel
            for channel, number in published.items()
            if self._is_lagging(channel, received[channel], number, now)
        }
        if late & self._reconnected_for:
            raise SubscriberStalled(f"publications of {len(late)} channels do not arrive although redis answers")
        if late:
            log.error("publications of %d channels do not arrive although redis answers: reconnecting", len(late))
            self._reconnected_for |= late
            for channel in late:
                self._watermarks[channel] = self._watermarks[channel]._replace(since=now)
            for reader in self._readers:
                reader.reconnect()
        return late

    def _is_lagging(self, channel: str, received: int, published: int, now: float) -> bool:
        expected = self._watermarks.get(channel)
        if expected is None or _is_reached(expected, received, published):
            self._watermarks[channel] = Watermark(published, now)
            if expected is not None:
                self._reconnected_for.discard(channel)
            return False
        return now - expected.since > self._timings.subscriber_stalled

    def _dispatch(self, channel: str, entries: Sequence[Entry]) -> None:
        publications = [entry.publication for entry in entries if not entry.publication.is_foreign]
        for publication in publications:
            try:
                self._dispatcher.complete(publication)
                self._rooms[channel].nicknames.settle(publication)
            except Exception:
                log.exception("the result of a job could not be handled", extra={"channel": channel})
        try:
            self._rooms[channel].deliver(publications)
        except Exception:
            log.exception("a publication could not be delivered", extra={"channel": channel})


def _in_steps(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    start = 0
    for end, entry in enumerate(entries, 1):
        if is_reference(entry.publication.body) and start < end - 1:
            yield entries[start : end - 1]
            start = end - 1
        if _is_large(entry) or end == len(entries):
            yield entries[start:end]
            start = end


def _is_large(entry: Entry) -> bool:
    return len(entry.publication.body) > PIECE_BYTES


def _is_reached(expected: Watermark, received: int, published: int) -> bool:
    if received > published:
        # Redis has lost publications, and no later ones have arrived, which is right until there are any.
        return published <= expected.offset
    return received >= expected.offset or published < expected.offset


def _sort_key(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)
