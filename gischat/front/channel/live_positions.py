"""Live positions of a channel: the newest position of each person who shares it, without history.

Positions need no confirmation and are never repeated, so they take no job: once a second a front publishes the changed
positions of its connections to the other fronts, and sends its subscribers all that it has received, in one write.
Positions are renewed regularly, for fronts that start later; one that is not renewed belongs to a dead front.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple, Protocol

import msgspec

from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable, Uncompliant
from gischat.front.channel.fanout import Fanout, Receiver
from gischat.front.channel.throttle import Throttle
from gischat.front.transport.frames import text_frame
from gischat.protocol.messages import Message, folded, now
from gischat.protocol.types import MAX_LIVE_SECONDS
from gischat.timings import Timings

log = logging.getLogger(__name__)

SENT_BYTES_PER_SECOND = 20e6  # average over all subscribers together: some per cent of this process' time
MAX_ENDED = 1000  # ended positions kept for subscribers that are behind; older ones end for them at their `until`

NOT_REGISTERED = "Register your nickname first: a live position is shared under it alone."
TOO_LONG = "A live position can be shared for at most 8 hours at a time: share it for less."


class Sharer(Protocol):
    """A connection that shares its live position."""

    id: int
    nickname: str | None

    def is_registered_as(self, nickname: str) -> bool: ...


class Content(msgspec.Struct):
    """A live position as in messages."""

    type: str
    id: str
    timestamp: int
    author: str
    x: float
    y: float
    accuracy: float
    until: int


class Own(NamedTuple):
    """The position of one of this front's connections."""

    sharer: Sharer
    author: str
    body: bytes
    ends_at: float  # loop time


class Known(NamedTuple):
    """A position received from a front, which may be this one."""

    front: str
    body: bytes
    ends_at: float
    received_at: float


# What fronts publish: a list of the nickname's key, the seconds left and the message; 0 seconds end the position
_published = msgspec.json.Decoder(list[tuple[str, float, msgspec.Raw]])
_content = msgspec.json.Decoder(Content)


class LivePositions:
    """A channel's live positions on one front. `publish` sends to all fronts, including this one."""

    def __init__(self, fanout: Fanout, timings: Timings = Timings()) -> None:
        self.publish: Callable[[bytes], Awaitable[None]] | None = None
        self.on_subscribed: Callable[[], None] = lambda: None
        self.on_sent: Callable[[int, int, int], None] = lambda clients, messages, size: None
        self.subscribers: dict[Receiver, None] = {}
        self._fanout = fanout
        self._behind: set[Receiver] = set()  # those that something else waits for: they skip changes, and get all later
        self._timings = timings
        self._own: dict[int, Own] = {}  # by connection id
        self._sharer_ids: dict[str, int] = {}  # by the nickname's key: the id of the connection that shares last
        self._unpublished: dict[str, tuple[float, msgspec.Raw]] = {}  # by the nickname's key
        self._known: dict[str, Known] = {}  # likewise; only while there are subscribers
        self._unsent: dict[str, bytes] = {}
        self._ended: dict[str, bytes] = {}  # for all who are behind together: the ends that some of them have skipped
        self._publishing = Throttle(timings.live, self._start_publishing)
        self._sending = Throttle(timings.live, self._send)
        self._renewal: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None  # publishes; one at a time, so that the newest comes last

    def __len__(self) -> int:
        """The number of this front's connections that share a position."""
        return len(self._own)

    # Sharing

    def share(self, sharer: Sharer, message: Message) -> None:
        """Share a connection's position, in place of its previous one.

        The duration is `until` - `timestamp`, both by the client's clock, since clients' clocks differ from ours.

        Raises:
            Uncompliant: the connection is not registered under the nickname, or the duration is too long.
        """
        content = _content.decode(bytes(message.body))
        if not sharer.is_registered_as(content.author):
            raise Uncompliant(NOT_REGISTERED, {"author": NOT_REGISTERED})
        left = content.until - content.timestamp
        if left > MAX_LIVE_SECONDS:
            raise Uncompliant(TOO_LONG, {"until": TOO_LONG})
        before = self._own.get(sharer.id)
        if left <= 0 or (before is not None and not sharer.is_registered_as(before.author)):
            self.stop(sharer.id)
        if left <= 0:
            return
        content.author = sharer.nickname or content.author  # spelled as registered
        content.timestamp = now()
        content.until = content.timestamp + left
        own = Own(sharer, content.author, msgspec.json.encode(content), _clock() + left)
        key = folded(own.author)
        self._own[sharer.id] = own
        self._sharer_ids[key] = sharer.id
        self._unpublished[key] = left, msgspec.Raw(own.body)
        self._publishing.trigger()
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(self._timings.live_renewal, self._renew)

    def stop(self, sharer_id: int) -> None:
        """End a connection's position: it has ended, or does not share any more."""
        own = self._own.pop(sharer_id, None)
        if own is not None and self._sharer_ids.get(key := folded(own.author)) == sharer_id:
            del self._sharer_ids[key]
            self._unpublished[key] = 0.0, msgspec.Raw(_ended(own.body))
            self._publishing.trigger()

    def _renew(self) -> None:
        """Publish all positions again."""
        self._renewal = None
        clock = _clock()
        for own in list(self._own.values()):
            if own.ends_at <= clock or not own.sharer.is_registered_as(own.author):
                self.stop(own.sharer.id)
            else:
                self._unpublished.setdefault(folded(own.author), (own.ends_at - clock, msgspec.Raw(own.body)))
        if self._unpublished:
            self._publishing.trigger()
        if self._own:
            self._renewal = asyncio.get_running_loop().call_later(self._timings.live_renewal, self._renew)

    def _start_publishing(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._publish_all())
            self._task.add_done_callback(lambda _: self._publishing.trigger() if self._unpublished else None)

    async def flush(self) -> None:
        """Publish what has not been published yet, without waiting for the next second."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._publish_all()

    async def _publish_all(self) -> None:
        """Publish all changes; if that fails, they are published with the next ones."""
        if self.publish is None or not self._unpublished:
            return
        unpublished, self._unpublished = self._unpublished, {}
        try:
            await self.publish(msgspec.json.encode([(key, left, body) for key, (left, body) in unpublished.items()]))
        except (ConnectionError, Unavailable, RedisError) as error:
            log.debug("live positions could not be published: %s", error)
            self._unpublished = unpublished | self._unpublished

    # Subscribing

    def subscribe(self, subscriber: Receiver) -> None:
        """Send the known positions to a subscriber, and from now on all changes."""
        self.subscribers[subscriber] = None
        self._write([subscriber], [known.body for known in self._known.values()])
        self.on_subscribed()

    def unsubscribe(self, subscriber: Receiver) -> None:
        self.subscribers.pop(subscriber, None)
        self._behind.discard(subscriber)
        if not self.subscribers:  # this front stops to read other fronts' positions
            self._known.clear()
            self._unsent.clear()
            self._ended.clear()

    def receive(self, front: str, body: bytes) -> None:
        """Receive changed or renewed positions from a front, which may be this one."""
        clock = _clock()
        for key, left, raw in _published.decode(body):
            known = self._known.get(key)
            message = bytes(raw)
            if left > 0:
                self._known[key] = Known(front, message, clock + left, clock)
                if known is None or known.body != message:
                    self._unsent[key] = message
            elif known is not None and known.front == front:  # otherwise somebody else has the nickname by now
                del self._known[key]
                self._unsent[key] = message
        if self._unsent:
            self._sending.trigger()

    def expire(self) -> None:
        """End positions whose time is over, or that are not renewed any more; called regularly."""
        clock = _clock()
        for key, known in list(self._known.items()):
            if known.ends_at <= clock or clock - known.received_at > self._timings.live_lost:
                del self._known[key]
                self._unsent[key] = _ended(known.body)
        if self._unsent:
            self._sending.trigger()

    def _send(self) -> None:
        """Send the changes to all who are not behind, and all positions to those who are behind no longer."""
        changed, self._unsent = self._unsent, {}
        self._ended |= {key: body for key, body in changed.items() if key not in self._known}
        for key in list(self._ended)[:-MAX_ENDED]:
            del self._ended[key]
        subscribers = set(self.subscribers) if changed else self._behind
        ready = {one for one in subscribers if one.is_ready and not self._fanout.is_behind(one)}
        returned, self._behind = ready & self._behind, subscribers - ready
        size = self._write(ready - returned, changed.values())
        if returned:
            known = {key: known.body for key, known in self._known.items()}
            size += self._write(returned, (self._ended | known).values())
        if self._behind:
            self._sending.trigger()
        else:
            self._ended.clear()
        self._sending.interval = max(self._timings.live, size / SENT_BYTES_PER_SECOND)

    def _write(self, subscribers: Collection[Receiver], bodies: Collection[bytes]) -> int:
        """Send messages in one write to each; returns the number of bytes."""
        if not (subscribers and bodies):
            return 0
        data = b"".join(map(text_frame, bodies))
        for subscriber in subscribers:
            subscriber.write(data)
        self.on_sent(len(subscribers), len(bodies), len(data))
        return len(data) * len(subscribers)


def _ended(body: bytes) -> bytes:
    """The message that ends a position: it was valid until now."""
    content = _content.decode(body)
    content.timestamp = content.until = now()
    return msgspec.json.encode(content)


def _clock() -> float:
    return asyncio.get_running_loop().time()
