"""The Matrix bridge, in both directions."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from gischat.bridges.base import Bridge, Incoming
from gischat.bridges.errors import Delayed, Rejected, Trouble
from gischat.bridges.files import fetched, max_bytes
from gischat.bridges.matrix.client import MatrixClient, UnknownPosition
from gischat.bridges.matrix.incoming import convert
from gischat.bridges.matrix.outgoing import OWN_KEY, liked_text, notice, outgoing
from gischat.bridges.participant import Participant
from gischat.bridges.store import event_of
from gischat.bridges.wording import LIKE
from gischat.broker.log_throttle import LogThrottle
from gischat.observability import metrics
from gischat.protocol.file_names import file_name
from gischat.settings import Settings
from gischat.shapes import as_list, as_object, as_text
from gischat.timings import Timings

log = logging.getLogger(__name__)

MAX_PAGES = 5  # of a room's events that a sync has omitted
DELETED = "Deleted in the channel."

ENCRYPTED = (
    "This room is encrypted: the bridge cannot read what is said here. Its messages can only be passed on from a room "
    "without encryption."
)
MISSED = "Some messages of this room were not passed on to the channel {channel}: there were too many at once."


class MatrixBridge(Bridge):
    """A bridge between channels and Matrix rooms."""

    kind = "matrix"

    def __init__(self, participant: Participant, settings: Settings, timings: Timings) -> None:
        super().__init__(participant, settings, timings)
        self.announces_presence = settings.matrix_notices
        self._client = MatrixClient(settings.matrix_homeserver, settings.matrix_token, timings, max_bytes(settings))
        self._wanted = dict(settings.matrix_bridges)  # the ids or aliases of rooms, by channel
        self._rooms: dict[str, str] = {}  # the ids of joined rooms, by channel
        self._entering: dict[str, asyncio.Lock] = {channel: asyncio.Lock() for channel in self.channels}
        self._user = ""
        self._since = ""  # the token of the last sync
        self._outside = {
            channel: LogThrottle(f"a room is not bridged, that of channel {channel}", timings, patience=0.0)
            for channel in self.channels
        }
        self._encrypted: set[str] = set()

    @staticmethod
    def channels_of(settings: Settings) -> Sequence[str]:
        return [channel for channel, _ in settings.matrix_bridges]

    # Requests to Matrix

    async def connect(self) -> None:
        self._user = await self._client.whoami()
        self._since = await self.store.foreign_position()
        if not self._since:  # earlier messages are not bridged
            answer = await self._client.sync("", 0)
            await self._move_to(as_text(answer.get("next_batch")))
        await self._enter_rooms()

    async def _enter_rooms(self) -> None:
        """Join the missing rooms; a failure does not affect the others."""
        for channel in self._wanted.keys() - self._rooms.keys():
            try:
                await self._room(channel)
            except Delayed as delayed:
                metrics.BRIDGE_RETRIES.labels(self.kind, delayed.trouble).inc()
                self._outside[channel].report(delayed)
            else:
                self._outside[channel].resolve()

    async def send(self, channel: str, message: Mapping[str, Any]) -> Sequence[str]:
        room = await self._room(channel)
        replied = self.links[channel].of_message(message.get("in_reply_to_id", ""))
        reply_to = event_of(replied[0].event) if replied else ""
        made = outgoing(message, await self.place_of(channel, message), reply_to)
        if made.file is not None:
            url = await self._client.upload(made.file.data, made.file.content_type, file_name(made.file.name))
            made.content["url"] = url
        return [await self._say(channel, room, "m.room.message", f"gischat-{message['id']}", made.content)]

    async def send_like(self, channel: str, liker: str, event: str) -> None:
        # One account reacts for all clients, so the reactions to an event must differ by the liker.
        relation = {"rel_type": "m.annotation", "event_id": event, "key": f"{LIKE} {liker}"}
        room = await self._room(channel)
        content = {"m.relates_to": relation}
        await self._say(channel, room, "m.reaction", f"gischat-like-{liker}-{event}", content)

    async def delete(self, channel: str, event: str) -> None:
        await self._client.redact(await self._room(channel), event_of(event), f"gischat-delete-{event}")

    async def tell(self, channel: str, words: str, reply_to: str = "") -> None:
        room = await self._room(channel)
        transaction = f"gischat-notice-{reply_to}" if reply_to else f"gischat-notice-{time.time_ns()}"
        await self._say(channel, room, "m.room.message", transaction, notice(words, reply_to))

    async def _say(self, channel: str, room: str, type: str, transaction: str, content: Mapping[str, Any]) -> str:
        try:
            return await self._client.send(room, type, transaction, content)
        except Delayed as delayed:
            if delayed.trouble is Trouble.NO_ROOM:  # the bridge was removed: join again next time, if permitted
                self._rooms.pop(channel, None)
            raise

    async def _room(self, channel: str) -> str:
        """The id of the channel's room, which is joined first if necessary."""
        async with self._entering[channel]:
            if channel not in self._rooms:
                try:
                    self._rooms[channel] = await self._client.join(self._wanted[channel])
                except Rejected as error:
                    reason = f"it cannot be entered: {error} (is {self._user} invited?)"
                    raise Delayed(Trouble.NO_ROOM, reason) from None
            return self._rooms[channel]

    # Events from Matrix

    async def receive(self) -> None:
        since = self._since
        try:
            answer = await self.until_stopped(self._client.sync(since, self.timings.bridge_poll))
        except UnknownPosition:
            log.warning("the homeserver does not know any more where the bridge was: it goes on from now")
            await self._move_to("")
            await self.connect()
            raise
        joined = as_object(as_object(answer.get("rooms")).get("join"))
        channels = {room: channel for channel, room in self._rooms.items()}
        timelines = {room: as_object(as_object(joined[room]).get("timeline")) for room in joined.keys() & channels}
        takes = [self._take_timeline(channels[room], room, timeline, since) for room, timeline in timelines.items()]
        for end in await asyncio.gather(*takes, return_exceptions=True):
            if end is not None:
                raise end
        await self._move_to(as_text(answer.get("next_batch")) or since)
        await self._enter_rooms()

    async def _move_to(self, since: str) -> None:
        if since != self._since:
            await self.store.save_foreign_position(since)
        self._since = since

    async def _take_timeline(self, channel: str, room: str, timeline: Mapping[str, Any], since: str) -> None:
        events = [as_object(event) for event in as_list(timeline.get("events"))]
        entered = [number for number, event in enumerate(events) if self._is_own_entry(event)]
        if entered:
            events = events[entered[-1] :]  # earlier messages are not bridged
        elif timeline.get("limited") is True:
            events = await self._earlier(channel, room, as_text(timeline.get("prev_batch")), since) + events
        await self.take_each(channel, events, partial(self._take, channel, room))

    def _is_own_entry(self, event: Mapping[str, Any]) -> bool:
        if event.get("type") != "m.room.member" or event.get("state_key") != self._user:
            return False
        before = as_object(as_object(event.get("unsigned")).get("prev_content")).get("membership")
        return before != "join" and as_object(event.get("content")).get("membership") == "join"

    async def _earlier(self, channel: str, room: str, token: str, since: str) -> list[dict[str, Any]]:
        """The events that a sync has omitted, since the previous one."""
        found: list[dict[str, Any]] = []
        for _ in range(MAX_PAGES):
            if not token:
                return found
            try:
                page = await self._client.messages_before(room, token, since)
            except Rejected:
                break
            events = [as_object(event) for event in as_list(page.get("chunk"))]
            found = events[::-1] + found
            token = as_text(page.get("end"))
            if not events:
                return found
        await self.try_to_tell(channel, MISSED.format(channel=channel))
        return found

    async def _take(self, channel: str, room: str, event: Mapping[str, Any]) -> None:
        sender, id, type = (as_text(event.get(name)) for name in ("sender", "event_id", "type"))
        content = as_object(event.get("content"))
        if not sender or not id or sender == self._user:
            return
        if type == "m.room.message":
            await self._take_message(channel, event, sender.removeprefix("@"), id, content)
        elif type == "m.reaction":
            await self._take_reaction(channel, room, sender.removeprefix("@"), id, content)
        elif type == "m.room.redaction":
            await self.retract(channel, as_text(event.get("redacts")) or as_text(content.get("redacts")))
        elif type == "m.room.member":
            await self._take_membership(channel, as_text(event.get("state_key")).removeprefix("@"), content)
        elif type == "m.room.encrypted" and channel not in self._encrypted:
            self._encrypted.add(channel)
            log.warning("the room is encrypted: its messages cannot be read", extra={"channel": channel})
            await self.try_to_tell(channel, ENCRYPTED)

    async def _take_message(
        self, channel: str, event: Mapping[str, Any], person: str, id: str, content: Mapping[str, Any]
    ) -> None:
        found = convert(content, self.settings.max_message_length)
        if found is None or (found.replaces and not self.links[channel].of_event(found.replaces)):
            return
        contents = [*await fetched(self, self._client.download, found.attachment), *found.contents]
        at = event.get("origin_server_ts")
        timestamp = at // 1000 if isinstance(at, int) and at > 0 else int(time.time())
        await self.publish(Incoming(channel, id, person, contents, timestamp, found.reply_to))

    async def _take_reaction(self, channel: str, room: str, person: str, id: str, content: Mapping[str, Any]) -> None:
        """Publish a reaction to a message from the channel as a like; others are visible in the room only."""
        target = as_text(as_object(content.get("m.relates_to")).get("event_id"))
        if not self.links[channel].of_event(target) or self.links[channel].of_event(id):
            return
        liked = await self._client.event(room, target)
        said_there = as_object(liked.get("content"))
        author = as_text(as_object(said_there.get(OWN_KEY)).get("author"))
        if liked.get("sender") == self._user and author:
            await self.like(channel, id, person, author, liked_text(said_there)[: self.settings.max_message_length])

    async def _take_membership(self, channel: str, person: str, content: Mapping[str, Any]) -> None:
        people = self.people[channel]
        if content.get("membership") in ("leave", "ban"):
            await people.leave(person)
        elif content.get("membership") == "join" and self.announces_presence and not people.is_here(person):
            await people.speaker(person)
