"""The outbox reader: hands what the workers publish to the rooms.

It reads the outboxes as streams, by position: whatever happens to the connection, it goes on where it was.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

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
REWIND_ENTRIES = MAX_SEEN_IDS // 2  # of an outbox whose places begin anew: what of them was heard is still known


class Watermark(NamedTuple):
    """So many publications there were at that time: they must have been heard soon after."""

    offset: int
    since: float


class SubscriberStalled(Exception):
    """This process runs and does not hear: it is of no use."""


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
        self._damaged: set[str] = set()  # channels that cannot be read, for a key is of a wrong type
        self._reconnected_for: set[str] = set()  # channels of which nothing has been heard since

    async def seek_to_tail(self) -> None:
        """Begins at the end of each outbox; waits for Redis as long as it takes."""
        for channel in self._rooms:
            while channel not in self._positions and channel not in self._damaged:
                try:
                    await self._seek_channel(channel)
                except (Unavailable, RedisError) as error:
                    log.debug("waiting for redis")
                    await self._look_for_damage([channel], error)
                    await asyncio.sleep(self._timings.retry)

    async def _seek_channel(self, channel: str) -> None:
        # At once, or what is published in between would be neither known nor heard.
        newest, ids, intact = await self._broker.outbox.tail(channel, MAX_SEEN_IDS)
        self._rooms[channel].start_at(newest.publication.offset if newest else 0, ids, intact)
        self._positions[channel] = newest.id if newest else STREAM_START

    async def rewind(self, channel: str) -> None:
        """Reads an outbox from an earlier place if all that it holds comes before ours.

        It is so when a clock was set back while Redis lost its data, or another machine that is behind took its place:
        the places are made of the time, and what is published would not be heard until the clock has caught up.

        Raises:
            ConnectionError, Unavailable, RedisError: it could not be asked.
        """
        newest = await self._broker.outbox.last_entry(channel)
        if newest is not None and _sort_key(newest.id) >= _sort_key(self._positions[channel]):
            return
        places = await self._broker.outbox.newest_entry_ids(channel, REWIND_ENTRIES)
        position = places[-1] if len(places) == REWIND_ENTRIES else STREAM_START
        if _sort_key(position) >= _sort_key(self._positions[channel]):
            return
        log.warning("all that redis has comes before what was heard: it is read again", extra={"channel": channel})
        self._positions[channel] = position
        for reader in self._readers:
            if channel in reader.channels:
                reader.reconnect()  # it waits for what comes after the old place

    async def run(self) -> None:
        """Reads until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for reader in self._readers:
                group.create_task(self._read(reader))

    async def _read(self, reader: OutboxReader) -> None:
        while True:
            # Of what came later it says nothing: this process may be frozen while the answer lies there.
            asked_at = asyncio.get_running_loop().time()
            try:
                await self._resume_repaired(reader)
                places = ((channel, self._positions.get(channel)) for channel in reader.channels)
                positions = {channel: place for channel, place in places if place and channel not in self._damaged}
                if not positions:
                    await asyncio.sleep(self._timings.read_fault_pause)
                    continue
                read = await reader.read(positions)
            except (ConnectionError, Unavailable, RedisError) as error:
                log.debug("the outboxes could not be read: %s", error)
                await self._look_for_damage(reader.channels, error)
                # The connection is being made anew; without this pause a fault that comes at once would spin.
                await asyncio.sleep(self._timings.read_pause)
                continue
            if any(self._positions[channel] != position for channel, position in positions.items()):
                continue  # we went back meanwhile: what comes before these entries is to be read first
            if not all([await self._take(channel, entries, positions[channel]) for channel, entries in read]):
                continue
            if all(len(entries) < READ_ENTRIES for _, entries in read):
                for channel in reader.channels:
                    room = self._rooms[channel]
                    room.caught_up_at = max(room.caught_up_at, asked_at)

    async def _take(self, channel: str, entries: Sequence[Entry], position: bytes) -> bool:
        """Dispatches what was read after a position. Behind something large the loop has its turn, as if the rest were
        read later.

        Returns False if we went back meanwhile: then the rest is read again.
        """
        for some in _in_steps(entries):
            if self._positions[channel] != position:
                return False
            self._dispatch(channel, some)
            position = self._positions[channel] = some[-1].id
            if _is_large(some[-1]):
                await asyncio.sleep(0)
        return True

    async def _look_for_damage(self, channels: Iterable[str], error: BaseException) -> None:
        """One channel that cannot be read must not keep the others from being read: finds which it is."""
        if str(error).startswith(WRONG_TYPE):
            with contextlib.suppress(ConnectionError, Unavailable, RedisError):
                for channel in channels:
                    if await self._broker.inbox.find_damage(channel):
                        self._damaged.add(channel)

    async def _resume_repaired(self, reader: OutboxReader) -> None:
        for channel in self._damaged & set(reader.channels):
            if not await self._broker.inbox.find_damage(channel):
                if channel not in self._positions:
                    await self._seek_channel(channel)
                self._damaged.discard(channel)

    async def skip_trimmed(self, channel: str, published: int) -> None:
        """Goes on behind what cannot be heard any more: so much was published, and the outbox does not have it.

        Raises:
            ConnectionError, Unavailable, RedisError: it could not be asked.
        """
        newest = await self._broker.outbox.last_entry(channel)
        if newest is None or _sort_key(newest.id) <= _sort_key(self._positions[channel]):
            self._rooms[channel].skip_to(published)

    def check_lag(self, heard: Mapping[str, int], published: Mapping[str, int]) -> set[str]:
        """Compares the last that was heard with what Redis said after that was published, by channel.

        Returns the channels of which nothing is heard: all that Redis has of them may come before what was heard, or be
        missing from the outbox.

        Raises:
            SubscriberStalled: publications do not arrive although Redis answers, over a new connection neither.
        """
        now = asyncio.get_running_loop().time()
        late = {
            channel for channel, number in published.items() if self._is_lagging(channel, heard[channel], number, now)
        }
        if late & self._reconnected_for:
            raise SubscriberStalled(f"nothing is heard of {len(late)} channels although redis answers")
        if late:
            log.error("nothing is heard of %d channels although redis answers: reconnecting", len(late))
            self._reconnected_for |= late
            for channel in late:
                self._watermarks[channel] = self._watermarks[channel]._replace(since=now)
            for reader in self._readers:
                reader.reconnect()
        return late

    def _is_lagging(self, channel: str, heard: int, published: int, now: float) -> bool:
        expected = self._watermarks.get(channel)
        if expected is None or _is_reached(expected, heard, published):
            self._watermarks[channel] = Watermark(published, now)
            if expected is not None:
                self._reconnected_for.discard(channel)
            return False
        return now - expected.since > self._timings.subscriber_stalled

    def _dispatch(self, channel: str, entries: Sequence[Entry]) -> None:
        publications = [entry.publication for entry in entries]
        for publication in publications:
            try:
                self._dispatcher.complete(publication)
                self._rooms[channel].nicknames.settle(publication)
            except Exception:
                log.exception("the end of a job could not be told", extra={"channel": channel})
        try:
            self._rooms[channel].deliver(publications)
        except Exception:
            log.exception("a publication could not be delivered", extra={"channel": channel})


def _in_steps(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    start = 0
    for end, entry in enumerate(entries, 1):
        if _is_large(entry) or end == len(entries):
            yield entries[start:end]
            start = end


def _is_large(entry: Entry) -> bool:
    return len(entry.publication.body) > PIECE_BYTES


def _is_reached(expected: Watermark, heard: int, published: int) -> bool:
    if heard > published:
        # Redis has lost some, and nothing that came later has been heard: which is right as long as nothing comes.
        return published <= expected.offset
    return heard >= expected.offset or published < expected.offset


def _sort_key(place: bytes) -> tuple[int, int]:
    milliseconds, _, number = place.partition(b"-")
    return int(milliseconds), int(number)
