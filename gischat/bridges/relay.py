"""The relay: a channel's publications on their way to the other chat.

It reads the outbox by position, at the other chat's pace. While the other chat is away, the outbox is the backlog,
with its own bounds (`MAX_OUTBOX_…`); the relay reports publications that were trimmed unread.
"""

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from gischat.bridges.cursor import OutboxCursor
from gischat.bridges.errors import Delayed, Rejected
from gischat.bridges.store import Link, event_of
from gischat.broker.entries import ANNOUNCEMENT, Outcome, Publication
from gischat.broker.outbox import Entry
from gischat.protocol.types import TYPES

if TYPE_CHECKING:
    from gischat.bridges.base import Bridge

log = logging.getLogger(__name__)

SHARED_TYPES = {ANNOUNCEMENT} | {row.name for row in TYPES.values() if row.stored}
PRESENCE_TYPES = frozenset({"newcomer", "exiter"})

MISSED = "Up to {number} messages could not be passed on from the channel {channel}."
REFUSED = "A message of the channel {channel} ({type}) could not be passed on."
DELETED = "A moderator has deleted a message of {author} in the channel {channel}."
ALL_DELETED = "A moderator has deleted all messages of the channel {channel}."


class Relay:
    """The relay of one channel."""

    def __init__(self, bridge: "Bridge", channel: str) -> None:
        self._bridge = bridge
        self._channel = channel
        self._links = bridge.links[channel]
        self._cursor = OutboxCursor(channel, bridge.participant.broker.outbox, bridge.store)
        self.load = self._cursor.load
        self._missed = 0  # publications that have not been reported yet

    async def run(self) -> None:
        """Send publications until the bridge stops; a message in flight is finished."""
        await self._bridge.follow(self._cursor, self._bridge.participant.news[self._channel], self._pass_on)

    async def _pass_on(self, entry: Entry) -> None:
        publication, bridge = entry.publication, self._bridge
        self._missed += self._cursor.missed_before(entry)
        # Retry only as long as the outbox retains it, like for reconnecting clients.
        until = int(entry.id.partition(b"-")[0]) / 1000 + bridge.settings.max_outbox_age
        try:
            if publication.outcome is Outcome.CONTROL:
                if publication.type == "deleted":
                    await self._delete(publication)
            elif publication.type == "like":
                await self._like(publication, until)
            elif self._is_for_all(publication) and bridge.wants(publication):
                await self._send(publication, until)
        except Rejected as error:
            bridge.count("out", "refused")
            log.warning(
                "a message was not passed on: %s", error, extra={"channel": self._channel, "type": publication.type}
            )
            await bridge.try_to_tell(self._channel, REFUSED.format(channel=self._channel, type=publication.type))
        except Delayed:
            self._missed += 1
            bridge.count("out", "missed")

    def _is_for_all(self, publication: Publication) -> bool:
        if not publication.is_broadcast or self._bridge.participant.is_own(publication):
            return False
        return publication.type in SHARED_TYPES | PRESENCE_TYPES

    async def _send(self, publication: Publication, until: float) -> None:
        bridge, channel = self._bridge, self._channel
        message = msgspec.json.decode(publication.body)
        if publication.type in PRESENCE_TYPES and bridge.people[channel].has_nickname(message[publication.type]):
            return
        if self._links.of_message(message["id"]):
            return  # an earlier process has sent it
        history = bridge.participant.broker.history
        if await bridge.attempt(lambda: history.is_deleted(channel, publication)):
            return
        if self._missed:
            words = MISSED.format(number=self._missed, channel=channel)
            await bridge.attempt(lambda: bridge.tell(channel, words), until)
            self._missed = 0
        events = await bridge.attempt(lambda: bridge.send(channel, message), until)
        bridge.count("out", "passed")
        author, digest = message.get("author", ""), Link.digest_of(message.get("text", ""))
        for event in events:
            link = Link(event, message["id"], author, digest)
            await bridge.attempt(lambda link=link: self._links.add(link))  # type: ignore[misc]

    async def _like(self, publication: Publication, until: float) -> None:
        bridge = self._bridge
        if not bridge.participant.is_of_own_people(publication.to):
            return  # the liked author is a client
        like = msgspec.json.decode(publication.body)
        link = self._links.find(like["liked_author"], like["message"])
        if link is not None:
            event = event_of(link.event)
            await bridge.attempt(lambda: bridge.send_like(self._channel, like["liker_author"], event), until)
            bridge.count("out", "passed")

    async def _delete(self, publication: Publication) -> None:
        """Delete the events of messages that a moderator has deleted."""
        bridge, channel = self._bridge, self._channel
        deletion = msgspec.json.decode(publication.body)
        until = time.time() + bridge.timings.bridge_patience
        if deletion["all"]:
            words = ALL_DELETED.format(channel=channel)
            await bridge.attempt(lambda: bridge.tell(channel, words), until)
        for link in [link for id in deletion["ids"] for link in self._links.of_message(id)]:
            if bridge.is_retracted(link.event):
                continue
            try:
                await bridge.attempt(lambda link=link: bridge.delete(channel, link.event), until)  # type: ignore[misc]
            except Rejected:  # the bridge may lack the permission to delete others' events
                await bridge.try_to_tell(channel, DELETED.format(channel=channel, author=link.author))
