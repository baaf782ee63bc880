"""What comes into the inboxes, seen before anybody takes it: a heavy worker chooses, it does not take what is first."""

import asyncio
from collections.abc import Collection, Sequence
from typing import NamedTuple

from gischat.broker.client import Redis
from gischat.broker.entries import Job
from gischat.broker.keys import ChannelKeys
from gischat.protocol.messages import Lane
from gischat.settings import Settings

ARRIVALS_AT_ONCE = 100  # of each channel, in one read: they are small, but for a dead letter that is tried again
FIRST = b"0"


class Arrival(NamedTuple):
    """A job in an inbox, whether a worker holds it or not; its body is not there yet."""

    channel: str
    entry: bytes
    job: Job


class InboxReader:
    """Sees what comes into the inboxes of some channels, and takes nothing; over a connection of its own."""

    def __init__(self, settings: Settings, lane: Lane, channels: Sequence[str], redis: Redis) -> None:
        self._redis = redis
        self._inboxes = {channel: ChannelKeys(settings.instance_id, channel).inbox(lane) for channel in channels}
        self._channels = {inbox.encode(): channel for channel, inbox in self._inboxes.items()}
        self._seen = dict.fromkeys(channels, FIRST)  # the newest of each channel
        self._anew: set[str] = set()  # channels that are to be read from their beginning

    async def read(self, wait: float, channels: Collection[str] | None = None) -> list[Arrival]:
        """What has come since the last time; waits up to `wait` seconds for the first.

        Args:
            channels: where to look; None: everywhere.

        Raises:
            ConnectionError, Unavailable, RedisError: nothing was read; ask again.
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
        """All that is in a channel's inbox is read once more: in an empty Redis, places may begin anew, too."""
        if channel in self._seen:
            self._anew.add(channel)  # a read that is under way does not know of it
