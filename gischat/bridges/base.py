"""The base of all bridges; subclasses speak the other chat's protocol.

Out   Messages published in a channel are read from its outbox: see `relay`.
In    Events of the other chat are enqueued like clients' messages. A message's id derives from the event's, so that an
      event that arrives twice (after a restart, a lost connection) is published once.

Links between messages and events are stored (see `store.Links`), so that nothing is sent twice or back.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import msgspec

from gischat.bridges.errors import Delayed, Rejected, Stopped, Trouble
from gischat.bridges.participant import REDIS_FAULTS, Participant
from gischat.bridges.people import People, Person
from gischat.bridges.places import place_in_degrees
from gischat.bridges.relay import PRESENCE_TYPES, Relay
from gischat.bridges.retrying import Retrying
from gischat.bridges.store import Link, event_of, part_of
from gischat.bridges.texts import MAX_PARTS
from gischat.broker.entries import Publication
from gischat.errors import Uncompliant
from gischat.front.dispatch.job_result import JobResult
from gischat.front.limits.rate_limit import TokenBucket
from gischat.observability import metrics
from gischat.protocol.messages import id_of
from gischat.protocol.parsing import MessageParser
from gischat.protocol.places import Box, decode
from gischat.protocol.types import PLACED_TYPES, TYPES
from gischat.settings import Settings
from gischat.timings import Timings

log = logging.getLogger(__name__)

MAX_EVENT_PARTS = MAX_PARTS + 2  # maximum of messages that an event becomes: a file, a position, and its text
MAX_RETRACTED = 1000  # events that are remembered
NAMESPACE = uuid.UUID("0a3ee5d2-7c35-5d0c-9a55-6b1f8cf4d4a7")  # of ids derived from events (RFC 9562 §5.5)
NOTICES = TokenBucket(6)  # notices per minute and person about refused messages

TOO_FAST = "You are writing too fast."


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event of the other chat, as messages of the channel."""

    channel: str
    event: str  # its id in the other chat
    person: str  # its sender's id in the other chat
    contents: Sequence[Mapping[str, Any]]  # messages without id, timestamp, author and in_reply_to_id
    timestamp: int  # seconds since the epoch, by the other chat
    reply_to: str = ""  # an event's id
    name: str = ""  # the sender's name there, if it differs from the id


class Bridge(Retrying, ABC):
    """A bridge between channels and rooms of another chat."""

    kind: ClassVar[str]
    announces_presence = False  # whether joining and leaving is told in the other chat

    def __init__(self, participant: Participant, settings: Settings, timings: Timings) -> None:
        super().__init__(self.kind, timings)
        self.up = metrics.BRIDGE_UP.labels(self.kind)
        self.channels = participant.channels
        self.settings = settings
        self.participant = participant
        self.store = participant.store
        self.people = {name: People(name, participant, settings, timings) for name in self.channels}
        self.links = {name: self.store.links(name) for name in self.channels}
        self._parser = MessageParser(settings)
        self._retracted: dict[str, None] = {}  # events deleted in the other chat
        self._relays = [Relay(self, channel) for channel in self.channels]
        participant.on_restore = lambda channel: self.people[channel].restore()
        participant.on_dismissal = lambda channel, is_meant: self.people[channel].dismiss(is_meant)
        participant.people_of = lambda channel: self.people[channel].connected

    @staticmethod
    @abstractmethod
    def channels_of(settings: Settings) -> Sequence[str]:
        """The channels that are bridged; none if the settings name no such bridge."""

    # Implemented by subclasses. All raise `Delayed` if it is not possible at the moment.

    @abstractmethod
    async def connect(self) -> None:
        """Find out the bridge's own account in the other chat, and join its rooms."""

    @abstractmethod
    async def receive(self) -> None:
        """Wait (`until_stopped`) for events, pass them to `publish` or `like`, and save the position."""

    @abstractmethod
    async def send(self, channel: str, message: Mapping[str, Any]) -> Sequence[str]:
        """Send a message to the other chat; returns the ids of its events.

        Raises:
            Rejected: the other chat will never accept it.
        """

    @abstractmethod
    async def send_like(self, channel: str, liker: str, event: str) -> None:
        """Send a like of an event."""

    @abstractmethod
    async def delete(self, channel: str, event: str) -> None:
        """Delete an event that this bridge has sent."""

    @abstractmethod
    async def tell(self, channel: str, words: str, reply_to: str = "") -> None:
        """Send a notice of the bridge itself."""

    async def try_to_tell(self, channel: str, words: str, reply_to: str = "") -> None:
        """Send a notice of the bridge itself, once, and ignore a failure."""
        with contextlib.suppress(Delayed, Rejected):
            await self.tell(channel, words, reply_to)

    async def place_of(self, channel: str, message: Mapping[str, Any]) -> Box | None:
        """The place of a message, as determined by a worker; None if it has none."""
        if message["type"] not in PLACED_TYPES:
            return None
        stored = None
        with contextlib.suppress(*REDIS_FAULTS):
            stored = await self.participant.broker.history.place(channel, message["id"])
        boxes = [box for box, _ in decode(stored).features if box] if stored else []
        return boxes[0] if boxes else place_in_degrees(message)

    # Called by subclasses

    async def publish(self, incoming: Incoming) -> None:
        """Publish an event in its channel, once; if it is refused, its sender gets a notice."""
        if not incoming.contents:
            return
        person = await self.people[incoming.channel].speaker(incoming.person, incoming.name)
        for number, content in enumerate(incoming.contents):
            event = part_of(incoming.event, number)
            links = self.links[incoming.channel]
            if links.of_event(event):
                continue
            refusal, link = await self._publish_one(incoming, person, event, content)
            await links.add(link)
            if refusal:
                await self._notify_of_refusal(incoming, person, refusal)

    async def like(self, channel: str, event: str, person: str, author: str, text: str, name: str = "") -> None:
        """Publish a like of an author's message."""
        content = {"type": "like", "liked_author": author, "message": text}
        await self.publish(Incoming(channel, event, person, [content], int(time.time()), name=name))

    async def retract(self, channel: str, event: str) -> None:
        """Delete an event's messages from the history, after the event was deleted in the other chat.

        Clients still show them, because the protocol cannot retract messages. Messages that come from the channel are
        not deleted: the other chat has moderators of its own.
        """
        ids = []
        for part in self._parts(event):
            own = self._id(channel, part)
            ids += [own for link in self.links[channel].of_event(part) if link.message == own]
        if ids:
            self._retracted[event] = None
            while len(self._retracted) > MAX_RETRACTED:
                del self._retracted[next(iter(self._retracted))]
            await self.participant.broker.moderation.delete_messages(channel, ids)

    async def take_each(
        self, channel: str, events: Iterable[Mapping[str, Any]], take: Callable[[Mapping[str, Any]], Awaitable[None]]
    ) -> None:
        """Take events of a channel's room in order; those that are rejected or unreadable are logged and skipped."""
        for event in events:
            if self.stop.is_set():
                raise Stopped
            try:
                await take(event)
            except (Delayed, Stopped, *REDIS_FAULTS):
                raise
            except Rejected as error:
                log.warning("an event was not passed on: %s", error, extra={"channel": channel})
            except Exception:
                log.exception("an event could not be read", extra={"channel": channel})

    def is_retracted(self, event: str) -> bool:
        """Whether the event was deleted in the other chat."""
        return event_of(event) in self._retracted

    def wants(self, publication: Publication) -> bool:
        """Whether a broadcast publication is sent to the other chat."""
        return self.announces_presence or publication.type not in PRESENCE_TYPES

    # Running

    def on_out_of_reach(self) -> None:
        self.up.set(0)

    async def run(self, stop: asyncio.Event) -> None:
        """Bridge until `stop` is set; then finish messages in flight, and free the people's nicknames."""
        self.up.set(0)
        try:
            await self.attempt(self._load)
        except Stopped:
            return
        loops = [self._receive(), self._remove_silent(), *(relay.run() for relay in self._relays)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._until_stopped(loop)) for loop in loops]
            await stop.wait()
            self.stop.set()
            await asyncio.wait(tasks, timeout=self.timings.drain)
            for task in tasks:
                task.cancel()
        with contextlib.suppress(TimeoutError, *REDIS_FAULTS):
            async with asyncio.timeout(self.timings.leave):
                await asyncio.gather(*(people.leave_all() for people in self.people.values()))

    async def _until_stopped(self, loop: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(Stopped):
            await loop

    async def _receive(self) -> None:
        await self.attempt(partial(self._not_rejected, self.connect))
        log.info("the %s bridge is connected", self.kind)
        while not self.stop.is_set():
            self.up.set(1)
            await self.attempt(partial(self._not_rejected, self.receive))

    async def _not_rejected(self, what: Callable[[], Awaitable[None]]) -> None:
        """Retry also after a rejection, because this operation does not depend on a single message."""
        try:
            await what()
        except Rejected as error:
            raise Delayed(Trouble.SERVER_ERROR, str(error)) from None

    async def _load(self) -> None:
        for links in self.links.values():
            await links.load()
        for relay in self._relays:
            await relay.load()

    async def _remove_silent(self) -> None:
        while True:
            await self.until_stopped(asyncio.sleep(self.timings.bridge_silent / 30))
            for people in self.people.values():
                await people.leave_silent()

    async def _publish_one(
        self, incoming: Incoming, person: Person, event: str, content: Mapping[str, Any]
    ) -> tuple[str, Link]:
        """Publish one message; returns the reason of a refusal, or "", and the link that marks the event as done."""
        channel, is_heavy = incoming.channel, TYPES[content["type"]].lane.is_sandboxed
        id = self._id(channel, event)
        if self.people[channel].allow(person, is_heavy=is_heavy) > 0:
            self.count("in", "refused")
            return TOO_FAST, Link(event, id, person.nickname)
        author = "liker_author" if content["type"] == "like" else "author"
        timestamp = max(min(incoming.timestamp, int(time.time())), 0)
        whole = {**content, "id": id, "timestamp": timestamp, author: person.nickname}
        replied = self.links[channel].of_event(incoming.reply_to)
        if replied:
            whole["in_reply_to_id"] = replied[0].message
        try:
            result = await self.participant.submit(person.job_queue, self._parser.parse(msgspec.json.encode(whole)))
        except Uncompliant as error:
            self.count("in", "refused")
            return error.reason, Link(event, id, person.nickname)
        self.count("in", "refused" if result.is_refusal else "passed")
        id = _published_id(result) or id
        digest = Link.digest_of(content.get("text", ""))
        return _reason(result), Link(event, id, person.nickname, digest)

    async def _notify_of_refusal(self, incoming: Incoming, person: Person, reason: str) -> None:
        """Notify the sender of a refused event, within a rate limit."""
        now = asyncio.get_running_loop().time()
        if NOTICES.delay(person.notices, now) > 0:
            return
        person.notices = NOTICES.acquire(person.notices, now)
        words = f"Not passed on to the channel {incoming.channel}: {reason}"
        await self.try_to_tell(incoming.channel, words, incoming.event)

    def _id(self, channel: str, event: str) -> str:
        """The id of an event's message, which is the same each time."""
        return str(uuid.uuid5(NAMESPACE, f"{self.kind} {channel} {event}"))

    def _parts(self, event: str) -> list[str]:
        """The ids of an event's parts."""
        return [part_of(event, number) for number in range(MAX_EVENT_PARTS)]

    def count(self, direction: str, outcome: str) -> None:
        metrics.BRIDGE_MESSAGES.labels(self.kind, direction, outcome).inc()


def _published_id(result: JobResult) -> str:
    """The id under which a message was published; it differs if somebody else had used the message's own."""
    return "" if result.is_refusal or not result.body else id_of(result.body).decode()


def _reason(result: JobResult) -> str:
    if not result.is_refusal or not result.body:
        return ""
    return str(msgspec.json.decode(result.body).get("reason", ""))
