"""Reads inboxes without claiming jobs, so that a heavy worker can choose the next job by fairness."""

import asyncio
from collections.abc import Collection, Sequence
from typing import NamedTuple

from gischat.broker.client import Redis
from gischat.broker.entries import Job
from gischat.broker.keys import ChannelKeys
from gischat.protocol.messages import Lane
from gischat.settings import Settings

ARRIVALS_AT_ONCE = 100  # per channel and read; entries are small, except for retried dead letters
FIRST = b"0"


class Arrival(NamedTuple):
    """A job in an inbox, held by a worker or not, without its body."""

    channel: str
    entry: bytes
    job: Job


class InboxReader:
    """Reads the inboxes of some channels without claiming jobs, on a connection of its own."""

    def __init__(self, settings: Settings, lane: Lane, channels: Sequence[str], redis: Redis) -> None:
        self._redis = redis
        self._inboxes = {channel: ChannelKeys(settings.instance_id, channel).inbox(lane) for channel in channels}
        self._channels = {inbox.encode(): channel for channel, inbox in self._inboxes.items()}
        self._seen = dict.fromkeys(channels, FIRST)  # the newest entry read from each channel
        self._anew: set[str] = set()  # channels to read from the beginning

    async def read(self, wait: float, channels: Collection[str] | None = None) -> list[Arrival]:
        """Read new jobs; wait up to `wait` seconds for the first.

        Args:
            channels: the channels to read; None for all.

        Raises:
            ConnectionError, Unavailable, RedisError: nothing was read; the next call reads it.
        """
        self._seen.update(dict.fromkeys(self._anew, FIRST))
        self._anew.clear()
        seen = {channel: place for channel, place in self._seen.items() if channels is None or channel in channels}
        if not seen:
            await asyncio.sleep(wait)
            return []
        inboxes = [self._inboxes[channel] for channel in seen]
        count, block = ARRIVALS_AT_ONCE, int(wait * 1000)
        answer = await self._redis.call(
            "XREAD", "COUNT", count, "BLOCK", block, "STREAMS", *inboxes, *seen.values(), key=inboxes[0]
        )
        arrivals = [
            Arrival(self._channels[inbox], entry, Job.parse(fields))
            for inbox, entries in answer or ()
            for entry, fields in entries
        ]
        self._seen.update((arrival.channel, arrival.entry) for arrival in arrivals)
        return arrivals

    def reread(self, channel: str) -> None:
        """Read a channel's inbox from its beginning next time: after Redis was emptied, entry ids may be lower."""
        if channel in self._seen:
            self._anew.add(channel)  # applied after the current read
