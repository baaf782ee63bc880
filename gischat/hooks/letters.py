"""What could not be posted to an outgoing hook, kept with its reason: `gischat dead-letters --hooks`."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from gischat.bridges.errors import Delayed, Rejected
from gischat.broker.client import Redis
from gischat.broker.keys import ChannelKeys
from gischat.errors import Unavailable
from gischat.hooks.delivery import Delivery
from gischat.protocol.messages import id_of
from gischat.settings import Settings
from gischat.timings import Timings

KIND = "hooks"
MAX_LETTERS = 500  # of a channel; beyond, the oldest go
PAGE = 20  # that are read at a time: a picture may have megabytes
FIELDS = ("target", "type", "reason", "body")


class HookLetter(NamedTuple):
    """A message that was not posted, and why."""

    channel: str
    place: str  # in the channel's stream of them
    target: str  # the digest of where it was to go: addresses may hold secrets
    type: str
    reason: str
    body: bytes

    @property
    def time(self) -> str:
        seconds = int(self.place.partition("-")[0]) / 1000
        return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")


class HookLetters:
    """Those of an instance."""

    def __init__(self, settings: Settings, redis: Redis, timings: Timings = Timings()) -> None:
        self._settings = settings
        self._redis = redis
        self._timings = timings
        self._keys = {name: ChannelKeys(settings.instance_id, name).bridge(KIND, "dead") for name in settings.channels}

    async def add(self, channel: str, url: str, type: str, reason: str, body: bytes) -> None:
        key = self._keys[channel]
        values: tuple[str | bytes, ...] = (target_of(url), type, reason, body)
        fields = [part for pair in zip(FIELDS, values, strict=True) for part in pair]
        await self._redis.call("XADD", key, "MAXLEN", MAX_LETTERS, "*", *fields, key=key)
        await self._redis.call("EXPIRE", key, int(self._timings.dead_letters), key=key)

    async def all(self) -> list[HookLetter]:
        """By channel, oldest first."""
        letters = []
        for channel, key in self._keys.items():
            start = "-"
            while page := await self._redis.call("XRANGE", key, start, "+", "COUNT", PAGE, key=key):
                letters += [_letter(channel, place, fields) for place, fields in page]
                start = "(" + letters[-1].place
        return letters

    async def find(self, place: str) -> HookLetter:
        """
        Raises:
            LookupError: there is none.
        """
        for letter in await self.all():
            if letter.place == place:
                return letter
        raise LookupError(f"there is no dead letter {place}")

    async def retry(self, letter: HookLetter) -> bool:
        """Posts it once more, and deletes it when it was taken.

        Raises:
            LookupError: where it was to go is no hook any more.
            Unavailable: it was not taken.
        """
        known: Sequence[str] = [url for _, url in self._settings.outgoing_hooks if target_of(url) == letter.target]
        if not known:
            raise LookupError(f"{letter.place} was for a hook that OUTGOING_HOOKS does not name any more")
        delivery = Delivery(self._settings, self._timings)
        try:
            await delivery.post(known[0], letter.channel, id_of(letter.body).decode(), letter.body)
        except (Delayed, Rejected) as error:
            raise Unavailable(f"{letter.place} was not taken: {error}") from None
        finally:
            delivery.close()
        return await self.delete(letter)

    async def delete(self, letter: HookLetter) -> bool:
        key = self._keys[letter.channel]
        return bool(await self._redis.call("XDEL", key, letter.place, key=key))


def _letter(channel: str, place: bytes, fields: Sequence[bytes]) -> HookLetter:
    target, type, reason, body = fields[1::2]
    return HookLetter(channel, place.decode(), target.decode(), type.decode(), reason.decode(), body)


def target_of(url: str) -> str:
    """What an address is called where it is not to be shown."""
    return hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
