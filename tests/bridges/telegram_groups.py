"""Groups of the stand-in of Telegram: what people do, and what the bot may do.

https://core.telegram.org/bots/api#available-methods
"""

import time
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

from PIL import Image

from tests.support.waiting import LOOK, until

MAX_UPLOAD = 50_000_000

Message = dict[str, Any]


class Refusal(Exception):
    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code = code
        self.parameters = parameters


class Group:
    """A group with the bot in it, as an administrator."""

    def __init__(self, tell: Callable[..., None], id: int, topics: tuple[int, ...] = ()) -> None:
        self._tell = tell
        self.id = id
        self.topics = topics
        self.status = "administrator"
        self.moved_to = 0
        self.messages: list[Message] = []  # sent by the bot, and not deleted
        self.reactions: list[Message] = []  # the bot's
        self.numbers = 0  # of messages, for their ids

    # Actions of people

    def say(self, text: str = "", by: Message | None = None, *, topic: int = 0, **more: Any) -> int:
        """Let a person send a message; return its id."""
        self.numbers += 1
        threaded = {"message_thread_id": topic, "is_topic_message": True} if topic else {}
        message = {
            "message_id": self.numbers,
            "from": by or person(),
            "chat": {"id": self.id, "type": "supergroup", "title": "A group"},
            "date": int(time.time()),
            **threaded,
            **({"text": text} if text else {}),
            **more,
        }
        self._tell(message=message)
        return self.numbers

    def edit(self, message: int, text: str) -> None:
        now = int(time.time())
        edited = {"message_id": message, "from": person(), "chat": {"id": self.id}, "date": now, "edit_date": now}
        self._tell(edited_message={**edited, "text": text})

    def react(self, message: int, before: tuple[str, ...] = (), after: tuple[str, ...] = ("🔥",)) -> None:
        old, new = ([{"type": "emoji", "emoji": one} for one in all_] for all_ in (before, after))
        now = int(time.time())
        whole = {"message_id": message, "chat": {"id": self.id}, "user": person(), "date": now}
        self._tell(message_reaction={**whole, "old_reaction": old, "new_reaction": new})

    # Actions of the bot

    async def until(self, text: str) -> Message:
        """Wait until the bot has sent a message with this text or caption; return it."""
        await until(lambda: text in self.texts(), text, every=LOOK)
        return next(one for one in self.messages if _text(one) == text)

    async def until_reply(self, message: int) -> Message:
        """Wait until the bot has answered a message."""
        await until(lambda: self._replies(message), "a reply", every=LOOK)
        return self._replies(message)[0]

    def texts(self) -> list[str]:
        return [_text(one) for one in self.messages]

    def _replies(self, message: int) -> list[Message]:
        return [one for one in self.messages if one.get("reply_parameters", {}).get("message_id") == message]


def person(id: int = 42, username: str = "Alice_B", **more: Any) -> Message:
    """A person, as Telegram describes them."""
    named = {"username": username} if username else {}
    return {"id": id, "is_bot": False, "first_name": "Alice", **named, **more}


def _text(message: Message) -> str:
    return str(message.get("text", message.get("caption", "")))


def _send(group: Group, given: Message, content: Message) -> Message:
    topic = given.get("message_thread_id", 0)
    if topic and topic not in group.topics:
        raise Refusal(400, "Bad Request: message thread not found")
    answered = given.get("reply_parameters", {})
    known = 0 < answered.get("message_id", 1) <= group.numbers or answered.get("allow_sending_without_reply")
    if answered and not known:
        raise Refusal(400, "Bad Request: message to be replied not found")
    group.numbers += 1
    group.messages.append({**given, **content, "message_id": group.numbers})
    return {"message_id": group.numbers, "chat": {"id": group.id}, "date": int(time.time())}


def _check(text: str, entities: list[Message], longest: int, *, is_needed: bool) -> None:
    units = len(text.encode("utf-16-le")) // 2
    if is_needed and not text.strip():
        raise Refusal(400, "Bad Request: message text is empty")
    if units > longest:
        raise Refusal(400, "Bad Request: message is too long")
    for entity in entities:
        if not 0 <= entity["offset"] < entity["offset"] + entity["length"] <= units:
            raise Refusal(400, "Bad Request: entity is out of the text")


def _send_message(group: Group, given: Message, _: object) -> Message:
    _check(given["text"], given.get("entities", []), 4096, is_needed=True)
    return _send(group, given, {})


def _send_photo(group: Group, given: Message, files: Mapping[str, bytes]) -> Message:
    _check(given.get("caption", ""), given.get("caption_entities", []), 1024, is_needed=False)
    with Image.open(BytesIO(files["photo"])) as picture:
        longer, shorter = max(picture.size), min(picture.size)
    if longer + shorter > 10_000 or longer > 20 * shorter or len(files["photo"]) > 10_000_000:
        raise Refusal(400, "Bad Request: PHOTO_INVALID_DIMENSIONS")
    return _send(group, given, {"photo": files["photo"]})


def _send_document(group: Group, given: Message, files: Mapping[str, bytes]) -> Message:
    _check(given.get("caption", ""), given.get("caption_entities", []), 1024, is_needed=False)
    if not files["document"] or len(files["document"]) > MAX_UPLOAD:
        raise Refusal(413, "Request Entity Too Large")
    return _send(group, given, {"document": files["document"]})


def _send_location(group: Group, given: Message, _: object) -> Message:
    if abs(given["latitude"]) > 90 or abs(given["longitude"]) > 180:
        raise Refusal(400, "Bad Request: wrong location")
    if not 0 <= given.get("horizontal_accuracy", 0) <= 1500:
        raise Refusal(400, "Bad Request: invalid horizontal accuracy")
    return _send(group, given, {})


def _set_reaction(group: Group, given: Message, _: object) -> bool:
    if not 0 < given["message_id"] <= group.numbers or len(given["reaction"]) > 1:
        raise Refusal(400, "Bad Request: message to react not found")
    if given["reaction"][0] != {"type": "emoji", "emoji": "👍"}:  # one of the possible ones
        raise Refusal(400, "Bad Request: REACTION_INVALID")
    group.reactions.append(given)
    return True


def _delete(group: Group, given: Message, _: object) -> bool:
    if given["message_id"] not in [one["message_id"] for one in group.messages]:
        raise Refusal(400, "Bad Request: message to delete not found")
    group.messages = [one for one in group.messages if one["message_id"] != given["message_id"]]
    return True


def _get_member(group: Group, given: Message, _: object) -> Message:
    return {"status": group.status, "user": {"id": given["user_id"]}}


METHODS: dict[str, Callable[[Group, Message, Mapping[str, bytes]], Any]] = {
    "sendMessage": _send_message,
    "sendPhoto": _send_photo,
    "sendDocument": _send_document,
    "sendLocation": _send_location,
    "setMessageReaction": _set_reaction,
    "deleteMessage": _delete,
    "getChatMember": _get_member,
}
