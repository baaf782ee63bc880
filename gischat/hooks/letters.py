"""Dead letters of outgoing hooks, with their reasons: `gischat dead-letters --hooks`."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import NamedTuple

from gischat.bridges.errors import Delayed, Rejected
from gischat.broker.client import Redis
from gischat.broker.dead_letters import time_of
from gischat.broker.foreign_entries import ForeignEntries
from gischat.broker.keys import ChannelKeys
from gischat.errors import Unavailable
from gischat.hooks.delivery import Delivery
from gischat.protocol.messages import id_of
from gischat.settings import Settings
from gischat.timings import Timings

KIND = "hooks"
MAX_LETTERS = 500  # per channel, and bytes over all its hooks; beyond that, the oldest are deleted
MAX_BYTES = 64 * 2**20
PAGE = 20  # entries per read: a picture may have megabytes
FIELDS = ("target", "type", "reason", "body")


class HookLetter(NamedTuple):
    """A message that was not posted, and the reason."""

    channel: str
    place: str  # its entry id in the channel's stream
    target: str  # a digest of the URL, which may contain a secret
    type: str
    reason: str
    body: bytes

    @property
    def time(self) -> str:
        return time_of(self.place)


class HookLetters:
    """The dead letters of an instance's outgoing hooks."""

    def __init__(self, settings: Settings, redis: Redis, timings: Timings = Timings()) -> None:
        self._settings = settings
        self._redis = redis
        self._timings = timings
        self._foreign = ForeignEntries(timings)
        self._sizes: dict[str, dict[str, int]] = {}  # bytes of the dead letters, by channel and entry id
        self._keys = {name: ChannelKeys(settings.instance_id, name).bridge(KIND, "dead") for name in settings.channels}

    async def add(self, channel: str, url: str, type: str, reason: str, body: bytes) -> None:
        key = self._keys[channel]
        values: tuple[str | bytes, ...] = (target_of(url), type, reason, body)
        fields = [part for pair in zip(FIELDS, values, strict=True) for part in pair]
        if channel not in self._sizes:
            known = {letter.place: len(letter.body) async for letter in self._of(channel)}
            self._sizes.setdefault(channel, known)
        place = await self._redis.call("XADD", key, "MAXLEN", MAX_LETTERS, "*", *fields, key=key)
        await self._redis.call("EXPIRE", key, int(self._timings.dead_letters), key=key)
        sizes = self._sizes[channel]
        sizes[place.decode()] = len(body)
        while len(sizes) > 1 and (len(sizes) > MAX_LETTERS or sum(sizes.values()) > MAX_BYTES):
            oldest = next(iter(sizes))
            del sizes[oldest]
            await self._redis.call("XDEL", key, oldest, key=key)

    async def all(self) -> list[HookLetter]:
        """Read all dead letters, by channel, oldest first."""
        return [letter for channel in self._keys async for letter in self._of(channel)]

    async def _of(self, channel: str) -> AsyncIterator[HookLetter]:
        key, start = self._keys[channel], "-"
        while page := await self._redis.call("XRANGE", key, start, "+", "COUNT", PAGE, key=key):
            for letter in self._foreign.skip(key, page, partial(_letter, channel)):
                yield letter
            start = "(" + page[-1][0].decode()

    async def retry(self, letter: HookLetter) -> bool:
        """Post a dead letter again, and delete it if that succeeds.

        Raises:
            LookupError: its target is not a hook any more.
            Unavailable: the target did not accept it.
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
    """A digest of a URL, which can be displayed and stored."""
    return hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
