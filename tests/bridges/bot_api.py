"""A stand-in of Telegram's Bot API: it checks what it is sent as the real one does, and gives what people in groups do.

https://core.telegram.org/bots/api. It runs in a thread of its own, with a loop of its own.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

from PIL import Image
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from tests.support.processes import HOST, free_port
from tests.support.waiting import DEADLINE, LOOK, until

TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
BOT = 110201543
LATER = "message_reaction"  # what only an administrator is told
MAX_UPLOAD = 50_000_000
MAX_DOWNLOAD = 20_000_000

Message = dict[str, Any]


class Refusal(Exception):
    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code = code
        self.parameters = parameters


class Group:
    """A group with the bot in it, as an administrator."""

    def __init__(self, api: "BotApi", id: int, topics: tuple[int, ...] = ()) -> None:
        self.api = api
        self.id = id
        self.topics = topics
        self.status = "administrator"
        self.moved_to = 0
        self.messages: list[Message] = []  # what the bot has sent, and not deleted
        self.reactions: list[Message] = []  # the bot's
        self.numbers = 0  # of its messages

    # What people do

    def say(self, text: str = "", by: Message | None = None, *, topic: int = 0, **more: Any) -> int:
        """Somebody sends a message; returns its id."""
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
        self.api.tell(message=message)
        return self.numbers

    def edit(self, message: int, text: str) -> None:
        now = int(time.time())
        edited = {"message_id": message, "from": person(), "chat": {"id": self.id}, "date": now, "edit_date": now}
        self.api.tell(edited_message={**edited, "text": text})

    def react(self, message: int, before: tuple[str, ...] = (), after: tuple[str, ...] = ("🔥",)) -> None:
        old, new = ([{"type": "emoji", "emoji": one} for one in all_] for all_ in (before, after))
        now = int(time.time())
        whole = {"message_id": message, "chat": {"id": self.id}, "user": person(), "date": now}
        self.api.tell(message_reaction={**whole, "old_reaction": old, "new_reaction": new})

    # What the bot has done

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
    """Somebody, as Telegram says it."""
    named = {"username": username} if username else {}
    return {"id": id, "is_bot": False, "first_name": "Alice", **named, **more}


def _text(message: Message) -> str:
    return str(message.get("text", message.get("caption", "")))


class BotApi:
    """One bot; `faults` are answers that it gives before the right ones, by method."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.groups: dict[int, Group] = {}
        self.files: dict[str, bytes] = {}  # by id
        self.faults: dict[str, list[Callable[[RequestHandler], None]]] = {}
        self.refusals: list[str] = []  # methods, and why they were refused
        self.webhook = False
        self._updates: list[Message] = []
        self._number = 1000
        self._poll = 0
        self._loop = asyncio.new_event_loop()
        self._server: HTTPServer
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def group(self, id: int, topics: tuple[int, ...] = ()) -> Group:
        self.groups[id] = Group(self, id, topics)
        return self.groups[id]

    def start(self) -> None:
        async def listen() -> None:
            self._server = HTTPServer(Application([("/(file/)?bot([^/]*)/(.*)", _Handler, {"api": self})]))
            self._server.listen(self.port, HOST)

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(DEADLINE)

    def stop(self) -> None:
        """It is away: nobody listens, and who was connected is so no more."""

        async def close() -> None:
            self._server.stop()
            await self._server.close_all_connections()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(DEADLINE)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)

    def tell(self, **update: Any) -> None:
        """There is an update, of any shape."""
        self._number += 1
        self._updates.append({"update_id": self._number, **update})

    def upload(self, data: bytes, **more: Any) -> Message:
        """A file of somebody's, as messages name it."""
        file = f"file{len(self.files)}"
        self.files[file] = data
        return {"file_id": file, "file_unique_id": file, "file_size": len(data), **more}

    async def answer(self, method: str, given: Message, files: Mapping[str, bytes]) -> Any:
        """What a method answers.

        Raises:
            Refusal: the real one would not take it.
        """
        if method == "getMe":
            return {"id": BOT, "is_bot": True, "first_name": "gischat", "can_read_all_group_messages": True}
        if method == "getUpdates":
            return await self._get_updates(given)
        if method == "getFile":
            data = self.files.get(given["file_id"])
            if data is None or len(data) > MAX_DOWNLOAD:
                raise Refusal(400, "Bad Request: " + ("invalid file_id" if data is None else "file is too big"))
            return {"file_id": given["file_id"], "file_path": f"documents/{given['file_id']}"}
        if method not in _METHODS:
            raise Refusal(404, "Not Found")
        return _METHODS[method](self._chat(given), given, files)

    def _chat(self, given: Message) -> Group:
        group = self.groups.get(given["chat_id"])
        if group is None:
            raise Refusal(400, "Bad Request: chat not found")
        if group.moved_to:
            moved = "Bad Request: group chat was upgraded to a supergroup chat"
            raise Refusal(400, moved, migrate_to_chat_id=group.moved_to)
        if group.status == "kicked":
            raise Refusal(403, "Forbidden: bot was kicked from the supergroup chat")
        return group

    async def _get_updates(self, given: Message) -> list[Message]:
        if self.webhook:
            raise Refusal(409, "Conflict: can't use getUpdates method while webhook is active")
        offset, allowed = given.get("offset", 0), given["allowed_updates"]
        first = offset if offset >= 0 else self._number + 1 + offset
        self._updates = [one for one in self._updates if one["update_id"] >= first]
        self._poll += 1
        poll, deadline = self._poll, time.monotonic() + given.get("timeout", 0)
        while True:
            if poll != self._poll:
                raise Refusal(409, "Conflict: terminated by other getUpdates request")
            found = [one for one in list(self._updates) if one["update_id"] >= first and _is_allowed(one, allowed)]
            if found or time.monotonic() >= deadline:
                return found[:100]
            await asyncio.sleep(LOOK)


def _is_allowed(update: Message, allowed: list[str]) -> bool:
    kinds = update.keys() - {"update_id"}
    return kinds <= set(allowed) if LATER in kinds else True


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
    if given["reaction"][0] != {"type": "emoji", "emoji": "👍"}:  # one of those that there are
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


_METHODS: dict[str, Callable[[Group, Message, Mapping[str, bytes]], Any]] = {
    "sendMessage": _send_message,
    "sendPhoto": _send_photo,
    "sendDocument": _send_document,
    "sendLocation": _send_location,
    "setMessageReaction": _set_reaction,
    "deleteMessage": _delete,
    "getChatMember": _get_member,
}


class _Handler(RequestHandler):
    def initialize(self, api: BotApi) -> None:
        self.api = api

    async def get(self, file: str, token: str, path: str) -> None:
        if token != TOKEN or not file:
            return self._refuse(Refusal(404 if file else 401, "Not Found" if file else "Unauthorized"))
        return self.write(self.api.files[path.removeprefix("documents/")])

    async def post(self, _: str, token: str, method: str) -> None:
        if faults := self.api.faults.get(method):
            return faults.pop(0)(self)
        try:
            if token != TOKEN:
                raise Refusal(401, "Unauthorized")
            files = {name: uploaded[0]["body"] for name, uploaded in self.request.files.items()}
            result = await self.api.answer(method, self._given(), files)
        except Refusal as refusal:
            self.api.refusals.append(f"{method}: {refusal}")
            return self._refuse(refusal)
        return self.write({"ok": True, "result": result})

    def _given(self) -> Message:
        if self.request.headers["Content-Type"] == "application/json":
            given: Message = json.loads(self.request.body)
            return given
        values = {name: written[0].decode() for name, written in self.request.body_arguments.items()}
        texts = ("caption", "text")
        return {name: value if name in texts else json.loads(value) for name, value in values.items()}

    def _refuse(self, refusal: Refusal) -> None:
        self.set_status(refusal.code)
        parameters = {"parameters": refusal.parameters} if refusal.parameters else {}
        self.write({"ok": False, "error_code": refusal.code, "description": str(refusal), **parameters})


def refusing(code: int, description: str, **parameters: int) -> Callable[[RequestHandler], None]:
    """A fault: this answer."""

    def answer(handler: RequestHandler) -> None:
        handler._refuse(Refusal(code, description, **parameters))  # type: ignore[attr-defined]

    return answer
