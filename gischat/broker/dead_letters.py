"""Dead letters: failed jobs, kept with their reasons until they are retried, deleted or expire."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import msgspec

from gischat.broker.client import Redis
from gischat.broker.entries import OPERATOR
from gischat.broker.foreign_entries import ForeignEntries
from gischat.broker.namespace import Namespace
from gischat.protocol.messages import author_of
from gischat.protocol.types import TYPES, Lane

READ_LETTERS = 100


def time_of(place: str) -> str:
    """The time when an entry was added to a stream, in UTC: `2026-01-31 12:00:00+00:00`."""
    seconds = int(place.partition("-")[0]) / 1000
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")


class DeadLetter(NamedTuple):
    """A failed job and its reason."""

    channel: str
    place: str  # the id of its entry in the channel's stream of dead letters
    type: str
    reason: str
    body: bytes

    @property
    def time(self) -> str:
        return time_of(self.place)

    @property
    def has_author(self) -> bool:
        try:
            return bool(author_of(self.body))
        except msgspec.DecodeError:
            return False


class DeadLetters:
    """The dead letters of an instance."""

    def __init__(self, namespace: Namespace, redis: Redis) -> None:
        self._scripts = namespace.scripts
        self._keys = namespace.keys
        self._redis = redis
        self._foreign = ForeignEntries(namespace.timings)

    async def all(self) -> list[DeadLetter]:
        """Read all dead letters, by channel, oldest first."""
        letters: list[DeadLetter] = []
        for channel, keys in self._keys.items():
            start = "-"
            while entries := await self._redis.call(
                "XRANGE", keys.dead, start, "+", "COUNT", READ_LETTERS, key=keys.dead
            ):
                letters += self._foreign.skip(keys.dead, entries, partial(_letter, channel))
                start = "(" + entries[-1][0].decode()
        return letters

    async def retry(self, letter: DeadLetter) -> bool:
        """Move a dead letter back into the inbox as a new job; False if it does not exist any more.

        A message with an author gets the operator as its source, because its connection may have ended, and its
        nickname may belong to somebody else by now.
        """
        lane = TYPES[letter.type].lane if letter.type in TYPES else Lane.LIGHT
        keys = self._keys[letter.channel].for_script(lane)
        source = str(OPERATOR) if letter.has_author else ""
        return bool(await self._redis.run(self._scripts.retry, keys, (letter.place, source)))

    async def delete(self, letter: DeadLetter) -> bool:
        """Delete a dead letter; False if it does not exist any more."""
        keys = self._keys[letter.channel].for_script()
        return bool(await self._redis.run(self._scripts.discard, keys, (letter.place,)))


def _letter(channel: str, place: bytes, fields: Sequence[bytes]) -> DeadLetter:
    _, type, _, body, reason = fields[1::2]
    return DeadLetter(channel, place.decode(), type.decode(), reason.decode(), body)
