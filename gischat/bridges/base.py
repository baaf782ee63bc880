"""What all bridges do alike; a subclass speaks the other chat's language.

Out   each channel's outbox is read by position, at the pace of the other chat: while that is away, the outbox is the
      backlog, with its own bounds, and what falls out of it is said.
In    what comes is enqueued as everybody's messages are. Its id is made of the event's, so what comes twice (after a
      restart, a lost connection) is published once.

Which message is which event is kept (see `store.Links`): what was passed on is not passed on again, nor passed back.
"""

import asyncio
import contextlib
import logging
import math
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import msgspec

from gischat.bridges.backoff import Backoff
from gischat.bridges.errors import Delayed, Rejected, Stopped
from gischat.bridges.participant import REDIS_FAULTS, STREAM_START, Participant, sort_key
from gischat.bridges.people import People, Person
from gischat.bridges.store import BridgeStore, Link, Position
from gischat.bridges.texts import MAX_PARTS
from gischat.broker.entries import Outcome, Publication
from gischat.broker.log_throttle import LogThrottle, described
from gischat.broker.outbox import Entry
from gischat.errors import Uncompliant
from gischat.front.dispatch.job_result import JobResult
from gischat.observability import metrics
from gischat.protocol.messages import HEAVY_TYPES, id_of
from gischat.protocol.parsing import MessageParser
from gischat.settings import Settings
from gischat.timings import Timings

log = logging.getLogger(__name__)

T = TypeVar("T")

SHARED_TYPES = frozenset({"text", "image", "geojson", "crs", "bbox", "position", "model", "script"})
COMING_AND_GOING = frozenset({"newcomer", "exiter"})
MAX_EVENT_PARTS = MAX_PARTS + 2  # messages that an event can become: a file, a position, and its text
PAGE = 20  # entries of an outbox that are read at a time: a picture may have megabytes
NAMESPACE = uuid.UUID("0a3ee5d2-7c35-5d0c-9a55-6b1f8cf4d4a7")  # of the ids that are made of events' (RFC 9562 §5.5)
TELLING_SECONDS = 60.0  # between two times that the same person is told the same

TOO_FAST = "You are writing too fast for the chat: some of your messages were not passed on."


@dataclass(frozen=True, slots=True)
class Incoming:
    """Something that was said in the other chat, and what it is in the channel."""

    channel: str
    event: str  # the other chat's id of it
    person: str  # the other chat's id of who said it
    contents: Sequence[Mapping[str, Any]]  # messages of the contract, without id, timestamp, author and in_reply_to_id
    timestamp: int  # seconds since the epoch, as the other chat says
    reply_to: str = ""  # an event


class Bridge(ABC):
    """A bridge between channels and rooms of another chat."""

    kind: ClassVar[str]

    def __init__(
        self, channels: Sequence[str], participant: Participant, settings: Settings, timings: Timings = Timings()
    ) -> None:
        self.channels = channels
        self.settings = settings
        self.timings = timings
        self.participant = participant
        self.store = BridgeStore(settings.instance_id, self.kind, participant.redis)
        self.people = {name: People(name, participant, self.store, settings, timings) for name in channels}
        self.links = {name: self.store.links(name) for name in channels}
        self.stop = asyncio.Event()
        self._parser = MessageParser(settings)
        self._missed = dict.fromkeys(channels, 0)
        self._positions: dict[str, Position] = {}  # in the outboxes, by channel
        self._trouble = LogThrottle(f"the {self.kind} bridge cannot go on", timings, patience=0.0)
        self._up = metrics.BRIDGE_UP.labels(self.kind)
        participant.on_restore = lambda channel: self.people[channel].restore()

    # What a subclass does. All raise `Delayed` where it cannot be done now.

    @abstractmethod
    async def connect(self) -> None:
        """Finds out who the bridge is in the other chat, and enters its rooms."""

    @abstractmethod
    async def receive(self) -> None:
        """Waits (`until_stopped`) for what comes next, hands it to `publish` or `like`, and keeps its position."""

    @abstractmethod
    async def send(self, channel: str, message: Mapping[str, Any]) -> Sequence[str]:
        """Passes a message on; returns the events that it became.

        Raises:
            Rejected: it will never be taken.
        """

    @abstractmethod
    async def send_like(self, channel: str, liker: str, event: str) -> None:
        """Passes on that somebody likes what an event says."""

    @abstractmethod
    async def delete(self, channel: str, event: str) -> None:
        """Takes an event back that this bridge has sent."""

    @abstractmethod
    async def tell(self, channel: str, words: str, reply_to: str = "") -> None:
        """Says something in the bridge's own name."""

    # What it is given

    async def publish(self, incoming: Incoming) -> None:
        """Says something in a channel, once; who said it is told why, if that is refused."""
        person = await self.people[incoming.channel].speaker(incoming.person)
        for number, content in enumerate(incoming.contents):
            event = incoming.event if number == 0 else f"{incoming.event}#{number}"
            links = self.links[incoming.channel]
            if links.of_event(event):
                continue
            refusal = await self._publish_one(incoming, person, event, content)
            await links.add(refusal[1])
            if refusal[0]:
                await self._tell_refusal(incoming, person, refusal[0])

    async def like(self, channel: str, event: str, person: str, author: str, text: str) -> None:
        """Says that somebody likes a message of an author."""
        content = {"type": "like", "liked_author": author, "message": text}
        incoming = Incoming(channel, event, person, [content], int(time.time()))
        await self.publish(incoming)

    async def retract(self, channel: str, event: str) -> None:
        """Takes back what an event had said, and its further parts, as far as clients have not shown it yet."""
        links = self.links[channel]
        ids = [link.message for part in self._parts(event) for link in links.of_event(part)]
        if ids:
            await self.participant.broker.moderation.delete_messages(channel, ids)

    async def until_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """What work comes to.

        Raises:
            Stopped: the process is to stop; the work is cancelled.
        """
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Stopped
            return task.result()
        finally:
            task.cancel()
            stopped.cancel()

    async def attempt(self, what: Callable[[], Awaitable[T]], until: float = math.inf) -> T:
        """Does something, again and again while it cannot be done.

        Args:
            until: by `time.time`, when it is given up.

        Raises:
            Delayed: that time has come.
            Stopped: the process is to stop.
        """
        backoff = Backoff(self.timings.bridge_retry, self.timings.bridge_retry_longest)
        while True:
            try:
                result = await what()
            except Delayed as delayed:
                metrics.BRIDGE_RETRIES.labels(self.kind, delayed.trouble).inc()
                self._up.set(0)
                self._trouble.report(delayed)
                wait = backoff.next(delayed.after)
                if time.time() + wait > until:
                    raise
                await self.until_stopped(asyncio.sleep(wait))
            except REDIS_FAULTS as error:
                log.debug("redis is awaited: %s", described(error))
                await self.until_stopped(asyncio.sleep(self.timings.retry))
            else:
                self._up.set(1)
                self._trouble.resolve()
                return result

    # The work

    async def run(self, stop: asyncio.Event) -> None:
        """Passes messages on until it is told to stop; then ends what it has in hand, and lets its people go."""
        self._up.set(0)
        try:
            await self.attempt(self._load)
        except Stopped:
            return
        loops = [self._receive(), self._let_go(), *(self._relay(channel) for channel in self.channels)]
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
        await self.attempt(self.connect)
        log.info("the %s bridge is there", self.kind)
        while not self.stop.is_set():
            await self.attempt(self.receive)

    async def _load(self) -> None:
        for channel, links in self.links.items():
            await links.load()
            self._positions[channel] = await self._find_position(channel)

    async def _let_go(self) -> None:
        while True:
            await self.until_stopped(asyncio.sleep(self.timings.bridge_silent / 30))
            for people in self.people.values():
                await people.leave_silent()

    async def _relay(self, channel: str) -> None:
        news = self.participant.news[channel]
        while not self.stop.is_set():
            news.clear()
            entries = await self.attempt(lambda: self._read(channel))
            for entry in entries:
                self._missed[channel] += max(entry.publication.offset - self._positions[channel].offset - 1, 0)
                await self._relay_one(channel, entry)
                self._positions[channel] = Position(entry.id, entry.publication.offset)
                if self.stop.is_set():
                    break
            if entries:
                await self.attempt(lambda: self.store.save_channel_position(channel, self._positions[channel]))
            else:
                with contextlib.suppress(TimeoutError):
                    await self.until_stopped(asyncio.wait_for(news.wait(), self.timings.outbox_read))
                await self.attempt(lambda: self._rewind(channel))

    async def _find_position(self, channel: str) -> Position:
        """Where an earlier process was; at first, the end: what was said before is not passed on."""
        position = await self.store.channel_position(channel)
        if position is None:
            newest = await self.participant.broker.outbox.last_entry(channel)
            position = Position(newest.id, newest.publication.offset) if newest else Position(STREAM_START, 0)
            await self.store.save_channel_position(channel, position)
        return position

    async def _rewind(self, channel: str) -> None:
        """Begins at the outbox's beginning, where all that Redis has comes before our place: it is another Redis."""
        newest = await self.participant.broker.outbox.last_entry(channel)
        if newest is not None and sort_key(newest.id) < sort_key(self._positions[channel].entry):
            self._positions[channel] = Position(STREAM_START, newest.publication.offset)

    async def _read(self, channel: str) -> list[Entry]:
        return await self.participant.broker.outbox.entries_after(channel, self._positions[channel].entry, PAGE)

    async def _relay_one(self, channel: str, entry: Entry) -> None:
        publication = entry.publication
        until = int(entry.id.partition(b"-")[0]) / 1000 + self.settings.max_outbox_age
        try:
            if publication.outcome is Outcome.CONTROL:
                if publication.type == "deleted":
                    await self._relay_deletion(channel, publication)
            elif publication.type == "like":
                await self._relay_like(channel, publication, until)
            elif self._is_wanted(channel, publication):
                await self._relay_message(channel, publication, until)
        except Rejected as error:
            self._count("out", "refused")
            log.warning("a message was not passed on: %s", error, extra={"channel": channel, "type": publication.type})
        except Delayed:
            self._missed[channel] += 1
            self._count("out", "missed")

    def _is_wanted(self, channel: str, publication: Publication) -> bool:
        if not publication.is_broadcast or self.participant.is_own(publication):
            return False
        if publication.type in COMING_AND_GOING:
            return self.tells_coming_and_going
        return publication.type in SHARED_TYPES

    tells_coming_and_going = False

    async def _relay_message(self, channel: str, publication: Publication, until: float) -> None:
        message = msgspec.json.decode(publication.body)
        if publication.type in COMING_AND_GOING and self.people[channel].bears(message[publication.type]):
            return
        if self.links[channel].of_message(message["id"]):
            return  # by the process before this one
        if self._missed[channel]:
            words = f"Up to {self._missed[channel]} messages could not be passed on from the channel {channel}."
            await self.attempt(lambda: self.tell(channel, words), until)
            self._missed[channel] = 0
        events = await self.attempt(lambda: self.send(channel, message), until)
        self._count("out", "passed")
        author, text = message.get("author", ""), message.get("text", "")
        for event in events:
            link = Link(event, message["id"], author, Link.digest_of(text))
            await self.attempt(lambda link=link: self.links[channel].add(link))  # type: ignore[misc]

    async def _relay_like(self, channel: str, publication: Publication, until: float) -> None:
        if not publication.to.startswith(f"{self.participant.kind}-"):
            return  # it is for a client
        like = msgspec.json.decode(publication.body)
        link = self.links[channel].find(like["liked_author"], like["message"])
        if link is not None:
            event = link.event.partition("#")[0]
            await self.attempt(lambda: self.send_like(channel, like["liker_author"], event), until)
            self._count("out", "passed")

    async def _relay_deletion(self, channel: str, publication: Publication) -> None:
        """A moderator has taken messages back."""
        deletion = msgspec.json.decode(publication.body)
        until = time.time() + self.timings.bridge_patience
        if deletion["all"]:
            words = f"A moderator has deleted all messages of the channel {channel}."
            await self.attempt(lambda: self.tell(channel, words), until)
        for link in [link for id in deletion["ids"] for link in self.links[channel].of_message(id)]:
            await self.attempt(lambda link=link: self.delete(channel, link.event), until)  # type: ignore[misc]

    async def _publish_one(
        self, incoming: Incoming, person: Person, event: str, content: Mapping[str, Any]
    ) -> tuple[str, Link]:
        """Why a message was refused, or nothing; and the link that says that its event is done with."""
        channel, is_heavy = incoming.channel, content["type"] in HEAVY_TYPES
        id = str(uuid.uuid5(NAMESPACE, f"{self.kind} {channel} {event}"))
        if self.people[channel].allow(person, is_heavy=is_heavy) > 0:
            self._count("in", "refused")
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
            self._count("in", "refused")
            return error.reason, Link(event, id, person.nickname)
        self._count("in", "refused" if result.is_refusal else "passed")
        id = _published_id(result) or id
        digest = Link.digest_of(content.get("text", ""))
        return _reason(result), Link(event, id, person.nickname, digest)

    async def _tell_refusal(self, incoming: Incoming, person: Person, reason: str) -> None:
        now = asyncio.get_running_loop().time()
        if reason == TOO_FAST:
            if now - person.told_at < TELLING_SECONDS:
                return
            person.told_at = now
        await self.tell(incoming.channel, f"Not passed on to the channel {incoming.channel}: {reason}", incoming.event)

    def _parts(self, event: str) -> list[str]:
        """An event, and what stands for its further parts."""
        return [event, *(f"{event}#{number}" for number in range(1, MAX_EVENT_PARTS))]

    def _count(self, direction: str, outcome: str) -> None:
        metrics.BRIDGE_MESSAGES.labels(self.kind, direction, outcome).inc()


def _published_id(result: JobResult) -> str:
    """Under which id a message was published: another one, where somebody else has used its own."""
    return "" if result.is_refusal or not result.body else id_of(result.body).decode()


def _reason(result: JobResult) -> str:
    if not result.is_refusal or not result.body:
        return ""
    reason: str = msgspec.json.decode(result.body).get("reason", "")
    return reason
