"""The part of Telegram's Bot API that a bridge needs, over plain HTTP.

The token is part of every URL, so errors and logs contain no URLs, and nothing that may quote one.
"""

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from tornado.httpclient import HTTPClientError

from gischat.bridges.errors import Delayed, Rejected, TooLarge, Trouble
from gischat.bridges.http import JSON, HttpClient, error_body, json_object
from gischat.bridges.wording import File
from gischat.protocol.file_names import file_name
from gischat.shapes import as_integer, as_object, as_text
from gischat.timings import Timings

MAX_ANSWER_BYTES = 16 * 2**20  # of JSON: a hundred updates
MAX_FILE_BYTES = 20_000_000  # of a file that a bot can download
MAX_WAIT = 600  # maximum seconds between two attempts, whatever the API asks for
UPDATES = ("message", "edited_message", "message_reaction")  # the last is sent to administrators only

# Descriptions of errors 400 that concern a whole group; all others concern one message, and block nothing.
_NO_ROOM = (
    "chat not found",
    "group chat was deactivated",
    "not enough rights to send text messages",
    "have no rights to send a message",
    "chat_write_forbidden",
    "message thread not found",
    "topic_closed",
    "topic_deleted",
)


class Migrated(Delayed):
    """The group has become a supergroup with another id."""

    def __init__(self, reason: str, chat: int) -> None:
        super().__init__(Trouble.NO_ROOM, reason)
        self.chat = chat


class TelegramClient:
    """One bot. The token is sent only to the API's address: redirects are not followed."""

    def __init__(self, api: str, token: str, timings: Timings = Timings(), max_file_bytes: int = 0) -> None:
        self._token = token
        self._timings = timings
        # Files need another size limit; updates need a connection of their own, which would block all others.
        self._polling = HttpClient("the Bot API", f"{api}/bot{token}/", timings, MAX_ANSWER_BYTES)
        self._calling = HttpClient("the Bot API", f"{api}/bot{token}/", timings, MAX_ANSWER_BYTES)
        max_file_bytes = min(max(max_file_bytes, 1), MAX_FILE_BYTES)
        self._files = HttpClient("the Bot API", f"{api}/file/bot{token}/", timings, max_file_bytes, of_files=True)

    async def updates(self, offset: int, wait: float) -> list[dict[str, Any]]:
        """Wait for the updates from `offset` on, which confirms all earlier ones. With -1: the newest one; with 0: all
        unconfirmed ones."""
        asked = {"timeout": int(wait), "allowed_updates": UPDATES} | ({"offset": offset} if offset else {})
        result = await self._invoke(self._polling, "getUpdates", asked, self._timings.bridge_answer + wait)
        if not isinstance(result, list):
            raise Delayed(Trouble.SERVER_ERROR, "the Bot API answers no list of updates")
        return list(map(as_object, result))

    async def invoke(self, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call a method; returns its result, or an empty object if that is no object."""
        return as_object(await self._invoke(self._calling, method, parameters, self._timings.bridge_answer))

    async def send(self, method: str, parameters: Mapping[str, Any], field: str = "", file: File | None = None) -> int:
        """Send a message, with a file in a field; returns its id, or 0 if the answer has none.

        A repeated call sends it twice, because the API cannot detect duplicates.
        """
        body, content_type = (None, JSON) if file is None else multipart(parameters, field, file)
        result = await self._invoke(self._calling, method, parameters, self._timings.bridge_file, body, content_type)
        return as_integer(as_object(result).get("message_id"))

    async def download(self, file: str) -> bytes:
        """Download a file by its id.

        Raises:
            TooLarge: the file is larger than permitted, or than bots can download.
        """
        path = as_text((await self.invoke("getFile", {"file_id": file})).get("file_path"))
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise Rejected("its file has no path")
        return await self._files.fetch("GET", quote(path), self._lost_file, self._timings.bridge_file)

    async def _invoke(
        self,
        client: HttpClient,
        method: str,
        parameters: Mapping[str, Any],
        seconds: float,
        body: bytes | None = None,
        content_type: str = JSON,
    ) -> Any:
        body = msgspec.json.encode(parameters) if body is None else body
        answer = json_object(await client.fetch("POST", method, self._failed, seconds, body, content_type)) or {}
        if answer.get("ok") is True:
            return answer.get("result")
        if answer.get("ok") is False:
            raise self._failure(as_integer(answer.get("error_code")), answer)
        raise Delayed(Trouble.SERVER_ERROR, "the Bot API answers something that is no answer of a Bot API")

    def _lost_file(self, error: HTTPClientError) -> Exception:
        if error.code == 404:
            return Rejected("its file is not there any more")
        return self._failed(error)

    def _failed(self, error: HTTPClientError) -> Exception:
        return self._failure(error.code, error_body(error))

    def _failure(self, code: int, answer: Mapping[str, Any]) -> Exception:
        """The exception for an answer that reports an error."""
        description = self._harmless(as_text(answer.get("description")))
        said, reason = description.lower(), f"the Bot API answers {code} {description}".strip()
        parameters = as_object(answer.get("parameters"))
        if moved := as_integer(parameters.get("migrate_to_chat_id")):
            return Migrated(reason, moved)
        if code == 429:
            after = min(max(as_integer(parameters.get("retry_after")), 0), MAX_WAIT)
            return Delayed(Trouble.RATE_LIMITED, reason, after)
        if code in (401, 404):  # 404 if the token is malformed
            return Delayed(Trouble.UNAUTHORIZED, f"{reason}: the token is wrong or has ended")
        if code == 409:
            return Delayed(Trouble.CONFLICT, f"{reason}: another program uses this bot")
        if code == 403 or (code == 400 and any(one in said for one in _NO_ROOM)):
            return Delayed(Trouble.NO_ROOM, f"{reason}: the bot may not write in the group")
        if code == 400 and "file is too big" in said:
            return TooLarge(reason)
        return Rejected(reason) if 400 <= code < 500 and code != 408 else Delayed(Trouble.SERVER_ERROR, reason)

    def _harmless(self, description: str) -> str:
        """The API's description for a log: without the token, printable, truncated."""
        for secret in (self._token, quote(self._token), self._token.partition(":")[2]):
            description = description.replace(secret, "…") if secret else description
        return "".join(letter for letter in description if letter.isprintable())[:120]


def multipart(parameters: Mapping[str, Any], field: str, file: File) -> tuple[bytes, str]:
    """Encode parameters and a file as multipart/form-data (RFC 7578); returns body and type. Non-texts are JSON."""
    boundary = secrets.token_hex(16)
    parts = []
    for name, value in parameters.items():
        written = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
        parts.append(b'Content-Disposition: form-data; name="%b"\r\n\r\n%b' % (name.encode(), written))
    name = file_name(file.name)  # contains no quotation mark
    head = f'Content-Disposition: form-data; name="{field}"; filename="{name}"\r\nContent-Type: {file.content_type}'
    parts.append(head.encode() + b"\r\n\r\n" + file.data)
    between = b"--%b\r\n" % boundary.encode()
    whole = b"".join(between + part + b"\r\n" for part in parts) + b"--%b--\r\n" % boundary.encode()
    return whole, f"multipart/form-data; boundary={boundary}"
