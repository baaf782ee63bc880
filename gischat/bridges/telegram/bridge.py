"""The Telegram bridge, in both directions, with groups and topics of groups."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from gischat.bridges.base import Bridge, Incoming
from gischat.bridges.errors import Delayed, Rejected, Trouble
from gischat.bridges.files import fetched, max_bytes
from gischat.bridges.participant import Participant
from gischat.bridges.store import Link, event_of
from gischat.bridges.telegram.client import Migrated, TelegramClient
from gischat.bridges.telegram.incoming import Sender, convert, named, sender, text_of, topic_of
from gischat.bridges.telegram.outgoing import Call, as_document, outgoing, quiet, reply
from gischat.bridges.telegram.updates import Updates
from gischat.bridges.texts import split, text_messages
from gischat.bridges.wording import LIKE, words
from gischat.settings import Settings
from gischat.shapes import as_integer, as_list, as_object
from gischat.timings import Timings

log = logging.getLogger(__name__)

MAX_WORDS = 200
MAX_UNBRIDGED = 100  # groups that are logged once each, since anybody may add a bot to a group

LIKES = "{liker} likes this."
PRIVACY = "the bot sees in a group only what is meant for it: turn its privacy mode off, or make it an administrator"


class TelegramBridge(Bridge):
    """A bridge between channels and Telegram groups."""

    kind = "telegram"

    def __init__(self, participant: Participant, settings: Settings, timings: Timings) -> None:
        super().__init__(participant, settings, timings)
        self.announces_presence = settings.telegram_notices
        self._client = TelegramClient(settings.telegram_api, settings.telegram_token, timings, max_bytes(settings))
        self._chats = dict(settings.telegram_bridges)
        self._updates = Updates(self._client, self.store, timings)
        self._bot = 0
        # By channel, the id of the message in flight and the ids of its events that were sent
        self._begun: dict[str, tuple[str, list[str]]] = {}
        self._words: dict[str, str] = {}  # the texts of recently sent messages, which likes name
        self._unbridged: set[int] = set()

    @staticmethod
    def channels_of(settings: Settings) -> Sequence[str]:
        return [channel for channel, _ in settings.telegram_bridges]

    # Requests to Telegram

    async def connect(self) -> None:
        me = await self._client.invoke("getMe", {})
        self._bot = as_integer(me.get("id"))
        if not self._bot:
            raise Delayed(Trouble.SERVER_ERROR, "the Bot API does not say who the bot is")
        for channel in self.channels:
            await self._look_at_group(channel, sees_all=me.get("can_read_all_group_messages") is True)
        await self._updates.load()

    async def _look_at_group(self, channel: str, *, sees_all: bool) -> None:
        """Log what is wrong with a group; the bridge continues, and tries again with each message."""
        try:
            member = await self._call(channel, "getChatMember", {"user_id": self._bot})
        except (Delayed, Rejected) as error:
            is_passing = isinstance(error, Delayed) and error.trouble is not Trouble.NO_ROOM
            if is_passing or isinstance(error, Migrated):
                raise
            log.warning("a group is not bridged: %s", error, extra={"channel": channel})
        else:
            if member.get("status") in ("left", "kicked"):
                log.warning("a group is not bridged: the bot is not in it", extra={"channel": channel})
            elif member.get("status") != "administrator" and not sees_all:
                log.warning(PRIVACY, extra={"channel": channel})

    async def send(self, channel: str, message: Mapping[str, Any]) -> Sequence[str]:
        replied = self.links[channel].of_message(message.get("in_reply_to_id", ""))
        answered = self._message_of(channel, replied[0].event) if replied else 0
        calls = outgoing(message, await self.place_of(channel, message))
        if self._begun.get(channel, ("",))[0] != message["id"]:
            self._begun[channel] = (message["id"], [])
        events = self._begun[channel][1]  # these are not sent again if only the rest had to wait
        for call in calls[len(events) :]:
            to = self._message_of(channel, events[0]) if events else answered
            events.append(await self._send(channel, call, to))
        events = [event for event in events if event]
        self._words |= dict.fromkeys(events, words(message))
        while len(self._words) > MAX_WORDS:
            del self._words[next(iter(self._words))]
        return events

    async def send_like(self, channel: str, liker: str, event: str) -> None:
        # A bot has only one reaction to a message, which does not name the liker.
        message = self._message_of(channel, event)
        if not message:
            return
        try:
            reaction = [{"type": "emoji", "emoji": LIKE}]
            await self._call(channel, "setMessageReaction", {"message_id": message, "reaction": reaction})
        except Rejected:  # the group may not permit reactions
            await self.tell(channel, LIKES.format(liker=liker), event)

    async def delete(self, channel: str, event: str) -> None:
        if message := self._message_of(channel, event):
            await self._call(channel, "deleteMessage", {"message_id": message})

    async def tell(self, channel: str, words: str, reply_to: str = "") -> None:
        await self._send(channel, Call("sendMessage", quiet(words)), self._message_of(channel, reply_to))

    async def _send(self, channel: str, call: Call, answered: int) -> str:
        """Call the API; returns the event's id, or "" if the answer has none."""
        chat = self._chats[channel]
        topic = {"message_thread_id": chat.topic} if chat.topic else {}
        whole = {"chat_id": chat.id, **topic, **call.parameters, **reply(answered)}
        try:
            message = await self._client.send(call.method, whole, call.field, call.file)
        except Migrated as migrated:
            self._migrate(chat.id, migrated.chat)
            raise
        except Rejected:
            if call.method != "sendPhoto":
                raise
            return await self._send(channel, as_document(call), answered)
        return f"{chat.id}/{message}" if message else ""

    async def _call(self, channel: str, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        chat = self._chats[channel]
        try:
            return await self._client.invoke(method, {"chat_id": chat.id, **parameters})
        except Migrated as migrated:
            self._migrate(chat.id, migrated.chat)
            raise

    def _message_of(self, channel: str, event: str) -> int:
        """The message id of an event in the channel's group; 0 if it is in no group, or was in one before migration."""
        chat, _, message = event_of(event).partition("~")[0].partition("/")
        return int(message) if chat == str(self._chats[channel].id) and message.isdecimal() else 0

    def _migrate(self, old: int, new: int) -> None:
        for channel, chat in self._chats.items():
            if chat.id == old != new:
                self._chats[channel] = replace(chat, id=new)
                log.warning(
                    "a group has become a supergroup: write %d for %d in TELEGRAM_BRIDGES",
                    *(new, old),
                    extra={"channel": channel},
                )

    # Updates from Telegram

    async def receive(self) -> None:
        batch = await self.until_stopped(self._updates.next())
        by_channel: dict[str, list[dict[str, Any]]] = {}
        for update in batch.updates:
            channel = self._channel_of(update)
            if channel:
                by_channel.setdefault(channel, []).append(update)
        takes = [self.take_each(name, updates, partial(self._take, name)) for name, updates in by_channel.items()]
        for end in await asyncio.gather(*takes, return_exceptions=True):
            if end is not None:
                raise end
        await self._updates.confirm(batch)

    def _channel_of(self, update: Mapping[str, Any]) -> str:
        """The channel of an update; "" if there is none. Reactions do not name their topic, but their message does."""
        message = _message(update)
        chat = as_integer(as_object(message.get("chat")).get("id"))
        if new := as_integer(message.get("migrate_to_chat_id")):
            self._migrate(chat, new)
        here = {channel: one.topic for channel, one in self._chats.items() if one.id == chat}
        if "message_reaction" in update:
            event = f"{chat}/{as_integer(message.get('message_id'))}"
            return next((channel for channel in here if self.links[channel].of_event(event)), "")
        topic = topic_of(message)
        found = next((channel for channel, its in here.items() if its == topic), "")
        if not found and chat < 0 and not here and chat not in self._unbridged and len(self._unbridged) < MAX_UNBRIDGED:
            self._unbridged.add(chat)
            log.info("the bot is in a group that is not bridged: %d%s", chat, f"/{topic}" if topic else "")
        return found

    async def _take(self, channel: str, update: Mapping[str, Any]) -> None:
        message = _message(update)
        event = f"{as_integer(as_object(message.get('chat')).get('id'))}/{as_integer(message.get('message_id'))}"
        if "message_reaction" in update:
            await self._take_reaction(channel, event, message)
            return
        who = sender(message)
        if who is None or who.id == str(self._bot):
            return
        await self._take_presence(channel, message)
        take = self._take_edit if "edited_message" in update else self._take_message
        await take(channel, event, who, message)

    async def _take_message(self, channel: str, event: str, who: Sender, message: Mapping[str, Any]) -> None:
        found = convert(message, self.settings.max_message_length, self.settings.max_image_size)
        if found is None:
            return
        contents = [*await fetched(self, self._client.download, found.attachment), *found.contents]
        answered = as_integer(as_object(message.get("reply_to_message")).get("message_id"))
        reply_to = f"{event.partition('/')[0]}/{answered}"
        await self.publish(Incoming(channel, event, who.id, contents, _timestamp(message), reply_to, who.name))

    async def _take_edit(self, channel: str, event: str, who: Sender, message: Mapping[str, Any]) -> None:
        """Publish an edited text. Other edits (a live location, a link's preview) do not change the text."""
        before = {link.digest for part in self._parts(event) for link in self.links[channel].of_event(part)}
        text, longest = text_of(message), self.settings.max_message_length
        if not before or not text or Link.digest_of(split(text, longest)[0]) in before:
            return
        contents = text_messages(f"(edited) {text}", longest)
        edit = f"{event}~{Link.digest_of(text)}"
        await self.publish(Incoming(channel, edit, who.id, contents, _timestamp(message), event, who.name))

    async def _take_reaction(self, channel: str, event: str, reaction: Mapping[str, Any]) -> None:
        """Publish a reaction to a message from the channel as a like; others are visible in the group only."""
        who = named(reaction.get("user")) or named(reaction.get("actor_chat"))
        before, after = (len(as_list(reaction.get(name))) for name in ("old_reaction", "new_reaction"))
        link = self.links[channel].of_event(event)[0]
        if who is None or after <= before or link.message == self._id(channel, event):
            return
        text = self._words.get(event) or await self._words_of(channel, link)
        text = text[: self.settings.max_message_length]
        await self.like(channel, f"{event}~{who.id}", who.id, link.author, text, who.name)

    async def _words_of(self, channel: str, link: Link) -> str:
        """The text of a message that is liked, which Telegram does not send."""
        body = await self.participant.broker.history.message(channel, link.message)
        return words(msgspec.json.decode(body)) if body else "a message"

    async def _take_presence(self, channel: str, message: Mapping[str, Any]) -> None:
        people = self.people[channel]
        if gone := named(message.get("left_chat_member")):
            await people.leave(gone.id)
        for come in map(named, as_list(message.get("new_chat_members"))):
            if come and self.announces_presence and come.id != str(self._bot) and not people.is_here(come.id):
                await people.speaker(come.id, come.name)


def _message(update: Mapping[str, Any]) -> dict[str, Any]:
    """The message, edited message or reaction of an update."""
    found = (update.get(name) for name in ("message", "edited_message", "message_reaction"))
    return next((as_object(one) for one in found if one), {})


def _timestamp(message: Mapping[str, Any]) -> int:
    return as_integer(message.get("edit_date")) or as_integer(message.get("date")) or int(time.time())
