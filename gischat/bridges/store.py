"""A bridge's state in Redis, for the next process: positions, links, nicknames, and the lock.

position    the last item that was passed on: the other chat's token, or "entry offset" of a channel's outbox
links       which message of the channel is which event of the other chat; a stream bounded in number and age
nickname    a person's last nickname
lock        the process that is the bridge: only one at a time
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Self

from gischat.broker.client import Redis
from gischat.broker.foreign_entries import ForeignEntries
from gischat.broker.keys import ChannelKeys, bridge_key
from gischat.protocol.messages import folded

MAX_LINKS = 2000  # per channel; linked events can be replied to, liked, edited and deleted
MAX_AGE = 7 * 24 * 3600  # seconds for which links are kept
NICKNAME_AGE = 90 * 24 * 3600  # seconds for which a nickname is kept after it was registered


class Position(NamedTuple):
    """A bridge's position in a channel's outbox: the last entry passed on, and its offset."""

    entry: bytes
    offset: int

    @classmethod
    def parse(cls, stored: bytes) -> Self:
        entry, _, offset = stored.partition(b" ")
        return cls(entry, int(offset))

    def __bytes__(self) -> bytes:
        return b"%b %d" % (self.entry, self.offset)


def part_of(event: str, number: int) -> str:
    """The id of the n-th message of an event, which a long text has several of. Events' ids contain no space."""
    return event if number == 0 else f"{event} {number}"


def event_of(part: str) -> str:
    """The event of a part."""
    return part.partition(" ")[0]


class Link(NamedTuple):
    """A message of the channel and the event of the other chat that correspond.

    The text itself is not stored: its `digest` finds it again for a like, which names the author and the text.
    """

    event: str  # or a part of one: see `part_of`
    message: str  # id
    author: str  # nickname
    digest: str = ""

    @staticmethod
    def digest_of(text: str) -> str:
        return digest_of(text.strip())


class Links:
    """The links of one channel, in memory, and in Redis for the next process."""

    def __init__(self, redis: Redis, key: str) -> None:
        self._redis = redis
        self._key = key
        self._foreign = ForeignEntries()
        self._links: dict[tuple[str, str], Link] = {}  # by event and message, oldest first
        self._by_event: dict[str, list[Link]] = {}
        self._by_message: dict[str, list[Link]] = {}

    async def load(self) -> None:
        entries = await self._redis.call("XRANGE", self._key, "-", "+", key=self._key)
        for link in self._foreign.skip(self._key, entries or (), _link):
            self._remember(link)

    async def add(self, link: Link) -> None:
        self._remember(link)
        fields = [part for name, value in zip(Link._fields, link, strict=True) for part in (name, value)]
        await self._redis.call("XADD", self._key, "MAXLEN", "~", MAX_LINKS, "*", *fields, key=self._key)
        await self._redis.call("EXPIRE", self._key, MAX_AGE, key=self._key)

    def of_event(self, event: str) -> Sequence[Link]:
        """The messages of an event (a long text has several), oldest first."""
        return self._by_event.get(event, ())

    def of_message(self, message: str) -> Sequence[Link]:
        return self._by_message.get(message, ())

    def find(self, author: str, text: str) -> Link | None:
        """The link of an author's newest message with that text."""
        who, digest = folded(author), Link.digest_of(text)
        found = (link for link in reversed(self._links.values()) if link.digest == digest)
        return next((link for link in found if folded(link.author) == who), None)

    def _remember(self, link: Link) -> None:
        if link[:2] in self._links:
            return
        self._links[link.event, link.message] = link
        self._by_event.setdefault(link.event, []).append(link)
        self._by_message.setdefault(link.message, []).append(link)
        while len(self._links) > MAX_LINKS:
            self._forget(next(iter(self._links)))

    def _forget(self, key: tuple[str, str]) -> None:
        link = self._links.pop(key)
        for links, name in ((self._by_event, link.event), (self._by_message, link.message)):
            links[name].remove(link)
            if not links[name]:
                del links[name]


class BridgeStore:
    """The stored state of all bridges of one kind."""

    def __init__(self, instance: str, kind: str, redis: Redis) -> None:
        self._instance = instance
        self._kind = kind
        self._redis = redis

    def links(self, channel: str) -> Links:
        return Links(self._redis, self._channel_key(channel, "links"))

    async def channel_position(self, channel: str) -> Position | None:
        """The bridge's position in the channel's outbox; None at its first start."""
        stored = await self._get(self._channel_key(channel, "position"))
        return Position.parse(stored) if stored else None

    async def save_channel_position(self, channel: str, position: Position) -> None:
        key = self._channel_key(channel, "position")
        await self._redis.call("SET", key, bytes(position), key=key)

    async def foreign_position(self) -> str:
        """The bridge's position in the other chat; empty at its first start."""
        return (await self._get(bridge_key(self._instance, self._kind, "position"))).decode()

    async def save_foreign_position(self, position: str) -> None:
        key = bridge_key(self._instance, self._kind, "position")
        await self._redis.call("SET", key, position, key=key)

    async def nickname(self, channel: str, person: str) -> str:
        """A person's last nickname; empty if unknown."""
        return (await self._get(self._nickname_key(channel, person))).decode()

    async def save_nickname(self, channel: str, person: str, nickname: str) -> None:
        key = self._nickname_key(channel, person)
        await self._redis.call("SET", key, nickname, "EX", NICKNAME_AGE, key=key)

    async def take_lock(self, owner: str, seconds: float) -> bool:
        """Acquire or renew the lock; False while another process has it.

        If the lock expires between the check and the renewal, another process may acquire it: then both work for a
        moment, which duplicates nothing, because their messages have the same ids.
        """
        key = bridge_key(self._instance, self._kind, "lock")
        milliseconds = int(seconds * 1000)
        while not await self._redis.call("SET", key, owner, "NX", "PX", milliseconds, key=key):
            holder = await self._redis.call("GET", key, key=key)
            if holder is None:
                continue  # it has just expired, or Redis has lost it
            if holder != owner.encode():
                return False
            await self._redis.call("SET", key, owner, "PX", milliseconds, key=key)
            break
        return True

    async def release_lock(self, owner: str) -> None:
        key = bridge_key(self._instance, self._kind, "lock")
        if await self._redis.call("GET", key, key=key) == owner.encode():
            await self._redis.call("SET", key, owner, "PX", 1, key=key)

    async def _get(self, key: str) -> bytes:
        return await self._redis.call("GET", key, key=key) or b""

    def _channel_key(self, channel: str, name: str) -> str:
        return ChannelKeys(self._instance, channel).bridge(self._kind, name)

    def _nickname_key(self, channel: str, person: str) -> str:
        return self._channel_key(channel, f"nickname:{digest_of(person)}")


def _link(_: bytes, fields: Sequence[bytes]) -> Link:
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    try:
        return Link(*(values[name.encode()].decode() for name in Link._fields))
    except KeyError as error:
        raise ValueError(f"it has no field {error}") from None


def digest_of(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
