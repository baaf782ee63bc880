"""The outbox reader: hands what the workers publish to the rooms.

It reads the outboxes as streams, by position: whatever happens to the connection, it goes on where it was.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gischat.errors import Refused
from gischat.front.channel.rooms import SEEN_IDS, Room
from gischat.front.jobs.gateway import READ_ENTRIES, Entry, Gateway, OutboxReader
from gischat.front.jobs.turnstile import Turnstiles
from gischat.streams.answers import WRONG_TYPE, RedisError
from gischat.timings import Timings

log = logging.getLogger(__name__)

BEGINNING = b"0-0"
REREAD_ENTRIES = SEEN_IDS // 2  # of an outbox whose places begin anew: what of them was heard is still known


class Expectation(NamedTuple):
    """So many publications there were at that time: they must have been heard soon after."""

    published: int
    since: float


class Deaf(Exception):
    """This process runs and does not hear: it is of no use."""


class Subscriber:
    """Reads the outboxes of all rooms."""

    def __init__(
        self,
        gateway: Gateway,
        readers: Sequence[OutboxReader],
        rooms: Mapping[str, Room],
        turnstiles: Turnstiles,
        timings: Timings = Timings(),
    ) -> None:
        self._gateway = gateway
        self._readers = readers
        self._rooms = rooms
        self._turnstiles = turnstiles
        self._timings = timings
        self._positions: dict[str, bytes] = {}
        self._expected: dict[str, Expectation] = {}
        self._damaged: set[str] = set()  # channels that cannot be read, for a key is of a wrong type
        self._reconnected_for: set[str] = set()  # channels of which nothing has been heard since

    async def find_positions(self) -> None:
        """Begins at the end of each outbox; waits for Redis as long as it takes."""
        for channel in self._rooms:
            while channel not in self._positions and channel not in self._damaged:
                try:
                    await self._find_position(channel)
                except (Refused, RedisError) as error:
                    log.debug("waiting for redis")
                    await self._look_for_damage([channel], error)
                    await asyncio.sleep(self._timings.retry)

    async def _find_position(self, channel: str) -> None:
        # At once, or what is published in between would be neither known nor heard.
        newest, ids, intact = await self._gateway.tail(channel, SEEN_IDS)
        self._rooms[channel].begin(newest.publication.number if newest else 0, ids, intact)
        self._positions[channel] = newest.id if newest else BEGINNING

    async def go_back(self, channel: str) -> None:
        """Reads an outbox from an earlier place if all that it holds comes before ours.

        It is so when a clock was set back while Redis lost its data, or another machine that is behind took its place:
        the places are made of the time, and what is published would not be heard until the clock has caught up.

        Raises:
            ConnectionError, Refused, RedisError: it could not be asked.
        """
        newest = await self._gateway.last_entry(channel)
        if newest is not None and _order(newest.id) >= _order(self._positions[channel]):
            return
        places = await self._gateway.newest_places(channel, REREAD_ENTRIES)
        position = places[-1] if len(places) == REREAD_ENTRIES else BEGINNING
        if _order(position) >= _order(self._positions[channel]):
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
                await self._readmit(reader)
                places = ((channel, self._positions.get(channel)) for channel in reader.channels)
                positions = {channel: place for channel, place in places if place and channel not in self._damaged}
                if not positions:
                    await asyncio.sleep(self._timings.read_fault_pause)
                    continue
                read = await reader.read(positions)
            except (ConnectionError, Refused, RedisError) as error:
                log.debug("the outboxes could not be read: %s", error)
                await self._look_for_damage(reader.channels, error)
                # The connection is being made anew; without this pause a fault that comes at once would spin.
                await asyncio.sleep(self._timings.read_pause)
                continue
            if any(self._positions[channel] != position for channel, position in positions.items()):
                continue  # we went back meanwhile: what comes before these entries is to be read first
            for channel, entries in read:
                self._hand_over(channel, entries)
                self._positions[channel] = entries[-1].id
            if all(len(entries) < READ_ENTRIES for _, entries in read):
                for channel in reader.channels:
                    room = self._rooms[channel]
                    room.caught_up_at = max(room.caught_up_at, asked_at)

    async def _look_for_damage(self, channels: Iterable[str], error: BaseException) -> None:
        """One channel that cannot be read must not keep the others from being read: finds which it is."""
        if str(error).startswith(WRONG_TYPE):
            with contextlib.suppress(ConnectionError, Refused, RedisError):
                for channel in channels:
                    if await self._gateway.damage(channel):
                        self._damaged.add(channel)

    async def _readmit(self, reader: OutboxReader) -> None:
        for channel in self._damaged & set(reader.channels):
            if not await self._gateway.damage(channel):
                if channel not in self._positions:
                    await self._find_position(channel)
                self._damaged.discard(channel)

    async def skip_missing(self, channel: str, published: int) -> None:
        """Goes on behind what cannot be heard any more: so much was published, and the outbox does not have it.

        Raises:
            ConnectionError, Refused, RedisError: it could not be asked.
        """
        newest = await self._gateway.last_entry(channel)
        if newest is None or _order(newest.id) <= _order(self._positions[channel]):
            self._rooms[channel].skip_to(published)

    def compare(self, heard: Mapping[str, int], published: Mapping[str, int]) -> set[str]:
        """Compares the last that was heard with what Redis said after that was published, by channel.

        Returns the channels of which nothing is heard: all that Redis has of them may come before what was heard, or be
        missing from the outbox.

        Raises:
            Deaf: publications do not arrive although Redis answers, over a new connection neither.
        """
        now = asyncio.get_running_loop().time()
        late = {channel for channel, number in published.items() if self._is_late(channel, heard[channel], number, now)}
        if late & self._reconnected_for:
            raise Deaf(f"nothing is heard of {len(late)} channels although redis answers")
        if late:
            log.error("nothing is heard of %d channels although redis answers: reconnecting", len(late))
            self._reconnected_for |= late
            for channel in late:
                self._expected[channel] = self._expected[channel]._replace(since=now)
            for reader in self._readers:
                reader.reconnect()
        return late

    def _is_late(self, channel: str, heard: int, published: int, now: float) -> bool:
        expected = self._expected.get(channel)
        if expected is None or _is_met(expected, heard, published):
            self._expected[channel] = Expectation(published, now)
            if expected is not None:
                self._reconnected_for.discard(channel)
            return False
        return now - expected.since > self._timings.outbox_deaf

    def _hand_over(self, channel: str, entries: list[Entry]) -> None:
        publications = [entry.publication for entry in entries]
        for publication in publications:
            try:
                self._turnstiles.end(publication)
                self._rooms[channel].settle_nickname(publication)
            except Exception:
                log.exception("the end of a job could not be told", extra={"channel": channel})
        try:
            self._rooms[channel].deliver(publications)
        except Exception:
            log.exception("a publication could not be delivered", extra={"channel": channel})


def _is_met(expected: Expectation, heard: int, published: int) -> bool:
    if heard > published:
        # Redis has lost some, and nothing that came later has been heard: which is right as long as nothing comes.
        return published <= expected.published
    return heard >= expected.published or published < expected.published


def _order(place: bytes) -> tuple[int, int]:
    milliseconds, _, number = place.partition(b"-")
    return int(milliseconds), int(number)
