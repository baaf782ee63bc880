"""Dead letters: jobs that could not be done, kept with their reasons until they are retried, deleted or old."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from gischat.broker.client import Redis
from gischat.broker.entries import OPERATOR
from gischat.broker.namespace import Namespace
from gischat.protocol.messages import author_of
from gischat.protocol.types import TYPES, Lane

READ_LETTERS = 100


def time_of(place: str) -> str:
    """When an entry was added to a stream, in UTC."""
    seconds = int(place.partition("-")[0]) / 1000
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")


class DeadLetter(NamedTuple):
    """A job that could not be done, and why."""

    channel: str
    place: str  # in the channel's stream of dead letters
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

    async def all(self) -> list[DeadLetter]:
        """All of them, by channel, oldest first."""
        letters: list[DeadLetter] = []
        for channel, keys in self._keys.items():
            start = "-"
            while entries := await self._redis.call(
                "XRANGE", keys.dead, start, "+", "COUNT", READ_LETTERS, key=keys.dead
            ):
                letters += [_letter(channel, place, fields) for place, fields in entries]
                start = "(" + letters[-1].place
        return letters

    async def find(self, place: str) -> DeadLetter:
        """The letter of that place; its channel is found.

        Raises:
            LookupError: there is none.
        """
        for letter in await self.all():
            if letter.place == place:
                return letter
        raise LookupError(f"there is no dead letter {place}")

    async def retry(self, letter: DeadLetter) -> bool:
        """Gives it to the workers once more, as a new job; False when it is gone.

        What has an author was his when he sent it. His connection may have gone since, and his nickname to somebody
        else: the job comes from the operator then.
        """
        lane = TYPES[letter.type].lane if letter.type in TYPES else Lane.LIGHT
        keys = self._keys[letter.channel].for_script(lane)
        source = str(OPERATOR) if letter.has_author else ""
        return bool(await self._redis.run(self._scripts.retry, keys, (letter.place, source)))

    async def delete(self, letter: DeadLetter) -> bool:
        """Deletes it; False when it is gone."""
        keys = self._keys[letter.channel].for_script()
        return bool(await self._redis.run(self._scripts.discard, keys, (letter.place,)))


def _letter(channel: str, place: bytes, fields: Sequence[bytes]) -> DeadLetter:
    _, type, _, body, reason = fields[1::2]
    return DeadLetter(channel, place.decode(), type.decode(), reason.decode(), body)
