"""A stand-in of Telegram's Bot API: it checks requests as the real one does, and returns what people do in groups.

https://core.telegram.org/bots/api. It runs in its own thread, with its own event loop.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from tests.bridges.telegram_groups import METHODS, Group, Message, Refusal
from tests.support.processes import HOST, free_port
from tests.support.waiting import DEADLINE, LOOK

TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
BOT = 110201543
LATER = "message_reaction"  # the update that only administrators receive
MAX_DOWNLOAD = 20_000_000


class BotApi:
    """The API of one bot; `faults` are answers by method, given once each before the regular ones."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.groups: dict[int, Group] = {}
        self.files: dict[str, bytes] = {}  # by id
        self.faults: dict[str, list[Callable[[RequestHandler], None]]] = {}
        self.refusals: list[str] = []  # methods, and why their requests were refused
        self.webhook = False
        self._updates: list[Message] = []
        self._number = 1000
        self._poll = 0
        self._loop = asyncio.new_event_loop()
        self._server: HTTPServer
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def group(self, id: int, topics: tuple[int, ...] = ()) -> Group:
        self.groups[id] = Group(self.tell, id, topics)
        return self.groups[id]

    def start(self) -> None:
        async def listen() -> None:
            self._server = HTTPServer(Application([("/(file/)?bot([^/]*)/(.*)", _Handler, {"api": self})]))
            self._server.listen(self.port, HOST)

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(DEADLINE)

    def stop(self) -> None:
        """Stop listening, and close all connections."""

        async def close() -> None:
            self._server.stop()
            await self._server.close_all_connections()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(DEADLINE)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)

    def tell(self, **update: Any) -> None:
        """Add an update of any shape."""
        self._number += 1
        self._updates.append({"update_id": self._number, **update})

    def upload(self, data: bytes, **more: Any) -> Message:
        """Add a file of a person; return its description for messages."""
        file = f"file{len(self.files)}"
        self.files[file] = data
        return {"file_id": file, "file_unique_id": file, "file_size": len(data), **more}

    async def answer(self, method: str, given: Message, files: Mapping[str, bytes]) -> Any:
        """The answer of a method.

        Raises:
            Refusal: the real API would refuse the request.
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
        if method not in METHODS:
            raise Refusal(404, "Not Found")
        return METHODS[method](self._chat(given), given, files)

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
    """A fault that answers with this error."""

    def answer(handler: RequestHandler) -> None:
        handler._refuse(Refusal(code, description, **parameters))  # type: ignore[attr-defined]

    return answer
