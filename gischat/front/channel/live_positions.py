"""Where people of a channel are at the moment: the newest position of each, and nothing that was before.

Nobody waits for a position, and none is worth repeating, so it takes no job: a front tells the others once a second
which positions of its connections have changed, and sends its subscribers what it hears in one write. A position is
told again now and then, for fronts that come later; one that is not is that of a front that is gone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

import msgspec

from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable, Uncompliant
from gischat.front.channel.throttle import Throttle
from gischat.front.transport.frames import text_frame
from gischat.protocol.messages import Message, folded, now
from gischat.protocol.types import MAX_LIVE_SECONDS
from gischat.timings import Timings

log = logging.getLogger(__name__)

SENT_BYTES_PER_SECOND = 20e6  # to all subscribers together, on average: a few hundredths of this process' time

NOT_REGISTERED = "Register your nickname first: a live position is shared under it alone."
TOO_LONG = "A live position can be shared for at most 8 hours at a time: share it for less."


class Subscriber(Protocol):
    """Somebody who wants to know where people are."""

    is_ready: bool

    def write(self, data: bytes) -> None: ...


class Sharer(Protocol):
    """Somebody who says where he is."""

    id: int
    nickname: str | None

    def is_registered_as(self, nickname: str) -> bool: ...


class Content(msgspec.Struct):
    """A live position, as on the wire."""

    type: str
    id: str
    timestamp: int
    author: str
    x: float
    y: float
    accuracy: float
    until: int


class Own(NamedTuple):
    """The position of a connection of this front."""

    sharer: Sharer
    author: str
    body: bytes
    ends_at: float  # by the loop's clock


class Known(NamedTuple):
    """A position that was heard of, whichever front told it."""

    front: str
    body: bytes
    ends_at: float
    heard_at: float


# What fronts tell each other: the nickname's key, seconds that are left, and the message; none are left of what ended
_told = msgspec.json.Decoder(list[tuple[str, float, msgspec.Raw]])
_content = msgspec.json.Decoder(Content)


class LivePositions:
    """A channel's live positions on one front. `publish` tells all fronts, this one as well."""

    def __init__(self, timings: Timings = Timings()) -> None:
        self.publish: Callable[[bytes], Awaitable[None]] | None = None
        self.on_subscribed: Callable[[], None] = lambda: None
        self.on_sent: Callable[[int, int, int], None] = lambda clients, messages, size: None
        self.subscribers: dict[Subscriber, None] = {}
        self._behind: set[Subscriber] = set()  # those that have not read the last ones, and need all of them
        self._timings = timings
        self._own: dict[int, Own] = {}  # by the connection's number
        self._sharer_ids: dict[str, int] = {}  # by the nickname's key: whose connection it is now
        self._untold: dict[str, tuple[float, msgspec.Raw]] = {}  # by the nickname's key
        self._known: dict[str, Known] = {}  # likewise; while somebody subscribes
        self._unsent: dict[str, bytes] = {}
        self._telling = Throttle(timings.live, self._tell)
        self._sending = Throttle(timings.live, self._send)
        self._renewal: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None  # that tells; one at a time, or an older one might come last

    def __len__(self) -> int:
        """How many connections of this front share theirs."""
        return len(self._own)

    # Those who share

    def share(self, sharer: Sharer, message: Message) -> None:
        """Takes the place of what the connection said before.

        For how long is read by the message's own clock, `until` - `timestamp`: people's clocks differ.

        Raises:
            Uncompliant: the nickname is not the connection's own; or that is too long.
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
        content.author = sharer.nickname or content.author  # as all others know it
        content.timestamp = now()
        content.until = content.timestamp + left
        own = Own(sharer, content.author, msgspec.json.encode(content), _clock() + left)
        key = folded(own.author)
        self._own[sharer.id] = own
        self._sharer_ids[key] = sharer.id
        self._untold[key] = left, msgspec.Raw(own.body)
        self._telling.trigger()
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(self._timings.live_renewal, self._renew)

    def stop(self, sharer_id: int) -> None:
        """The connection has ended, or does not want to be seen any more."""
        own = self._own.pop(sharer_id, None)
        if own is not None and self._sharer_ids.get(key := folded(own.author)) == sharer_id:
            del self._sharer_ids[key]
            self._untold[key] = 0.0, msgspec.Raw(_ended(own.body))
            self._telling.trigger()

    def _renew(self) -> None:
        """Tells all again."""
        self._renewal = None
        clock = _clock()
        for own in list(self._own.values()):
            if own.ends_at <= clock or not own.sharer.is_registered_as(own.author):
                self.stop(own.sharer.id)
            else:
                self._untold.setdefault(folded(own.author), (own.ends_at - clock, msgspec.Raw(own.body)))
        if self._untold:
            self._telling.trigger()
        if self._own:
            self._renewal = asyncio.get_running_loop().call_later(self._timings.live_renewal, self._renew)

    def _tell(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell_all())
            self._task.add_done_callback(lambda _: self._telling.trigger() if self._untold else None)

    async def flush(self) -> None:
        """Tells the fronts at once what they have not been told."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._tell_all()

    async def _tell_all(self) -> None:
        """What cannot be told now is with the next."""
        if self.publish is None or not self._untold:
            return
        untold, self._untold = self._untold, {}
        try:
            await self.publish(msgspec.json.encode([(key, left, body) for key, (left, body) in untold.items()]))
        except (ConnectionError, Unavailable, RedisError) as error:
            log.debug("live positions could not be told: %s", error)
            self._untold = untold | self._untold

    # Those who want to know

    def subscribe(self, subscriber: Subscriber) -> None:
        """From now on; what is known comes at once."""
        self.subscribers[subscriber] = None
        self._send_all(subscriber)
        self.on_subscribed()

    def unsubscribe(self, subscriber: Subscriber) -> None:
        self.subscribers.pop(subscriber, None)
        self._behind.discard(subscriber)
        if not self.subscribers:  # nobody listens to the others for us any more
            self._known.clear()
            self._unsent.clear()

    def hear(self, front: str, body: bytes) -> None:
        """A front, maybe this one, has told what changed, or told it again."""
        clock = _clock()
        for key, left, raw in _told.decode(body):
            known = self._known.get(key)
            message = bytes(raw)
            if left > 0:
                self._known[key] = Known(front, message, clock + left, clock)
                if known is None or known.body != message:
                    self._unsent[key] = message
            elif known is not None and known.front == front:  # else the nickname is somebody else's by now
                del self._known[key]
                self._unsent[key] = message
        if self._unsent:
            self._sending.trigger()

    def expire(self) -> None:
        """Says so of what is over, or is not told any more. To be called now and then."""
        clock = _clock()
        for key, known in list(self._known.items()):
            if known.ends_at <= clock or clock - known.heard_at > self._timings.live_lost:
                del self._known[key]
                self._unsent[key] = _ended(known.body)
        if self._unsent:
            self._sending.trigger()

    def _send(self) -> None:
        data = b"".join(map(text_frame, self._unsent.values()))
        messages = len(self._unsent)
        self._unsent.clear()
        for subscriber in list(self.subscribers):
            if not subscriber.is_ready:  # it gets the newest of all when it has read what it has
                self._behind.add(subscriber)
            elif subscriber in self._behind:
                self._send_all(subscriber)
            else:
                subscriber.write(data)
        size = len(data) * len(self.subscribers)
        self.on_sent(len(self.subscribers), messages, len(data))
        self._sending.interval = max(self._timings.live, size / SENT_BYTES_PER_SECOND)

    def _send_all(self, subscriber: Subscriber) -> None:
        self._behind.discard(subscriber)
        if self._known:
            data = b"".join(text_frame(known.body) for known in self._known.values())
            subscriber.write(data)
            self.on_sent(1, len(self._known), len(data))


def _ended(body: bytes) -> bytes:
    """The position of somebody who does not share it any more: it was so until now."""
    content = _content.decode(body)
    content.timestamp = content.until = now()
    return msgspec.json.encode(content)


def _clock() -> float:
    return asyncio.get_running_loop().time()
