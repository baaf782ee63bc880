"""Disconnects clients whose key was revoked or has ended."""

import asyncio
import time
from collections.abc import Iterable, Mapping

from gischat.broker.access_keys import AccessKey
from gischat.front.auth.channel_auth import ChannelAuth
from gischat.front.channel.room import Room
from gischat.front.close_status import KEY_ENDED
from gischat.timings import Timings


class EndedKeys:
    """Updates the keys of `ChannelAuth`, and closes connections that these do not permit any more."""

    def __init__(self, rooms: Mapping[str, Room], channel_auth: ChannelAuth, timings: Timings) -> None:
        self._rooms = rooms
        self._auth = channel_auth
        self._interval = timings.key_check
        self._next_check: asyncio.TimerHandle | None = None

    def adopt(self, channel: str, keys: Iterable[AccessKey]) -> None:
        """Replace a channel's keys."""
        if self._auth.keys.replace(channel, keys):
            self._check()

    def _check(self) -> None:
        """Close such connections now, and again when the next key ends."""
        for room in self._rooms.values():
            for member in list(room.connections.values()):
                if member.access_key is not None and not self._auth.admits(room.channel, member.access_key):
                    member.kick(*KEY_ENDED)
        if self._next_check is not None:
            self._next_check.cancel()
        ends = self._auth.keys.next_end
        if ends is not None:
            # Also check regularly: the loop's clock does not notice a sleep, or a change of the system's clock.
            seconds = min(max(ends - time.time(), 0), self._interval)
            self._next_check = asyncio.get_running_loop().call_later(seconds, self._check)
