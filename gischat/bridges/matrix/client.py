"""The part of Matrix's client-server API that a bridge needs, over plain HTTP.

Not matrix-nio, which would save these lines only, and needs another HTTP client, a state store and encryption.
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from tornado.httpclient import HTTPClientError

from gischat.bridges.errors import Delayed, Rejected, Trouble
from gischat.bridges.http import HttpClient, error_body, json_object
from gischat.timings import Timings

MAX_ANSWER_BYTES = 32 * 2**20  # of JSON: a sync of many rooms after a night
TIMELINE_EVENTS = 100  # of a room in one sync; the others are requested in pages
CLIENT = "/_matrix/client/v3"


class MatrixClient:
    """One account on one homeserver. The token is sent only to that address: redirects are not followed."""

    def __init__(self, homeserver: str, token: str, timings: Timings = Timings(), max_file_bytes: int = 0) -> None:
        self._timings = timings
        connected = partial(HttpClient, "the homeserver", homeserver, timings, token=token)
        # Files have a client of their own, because its size limit differs, and so that calls do not wait for files.
        self._api = connected(MAX_ANSWER_BYTES)
        self._files = connected(max(max_file_bytes, 1), of_files=True)

    async def whoami(self) -> str:
        """The account's user id."""
        return _text(await self._call("GET", f"{CLIENT}/account/whoami"), "user_id")

    async def join(self, room: str) -> str:
        """Join a room, if the account is not in it; returns its id."""
        return _text(await self._call("POST", f"{CLIENT}/join/{_quoted(room)}", {}), "room_id")

    async def sync(self, since: str, wait: float) -> dict[str, Any]:
        """Wait for the events after a sync's token; without a token, return the current one.

        Raises:
            UnknownPosition: the homeserver does not know the token, because it was set up anew.
        """
        only_messages = {
            "presence": {"not_types": ["*"]},
            "account_data": {"not_types": ["*"]},
            "room": {
                "timeline": {"limit": TIMELINE_EVENTS if since else 1},
                "state": {"not_types": ["*"]},
                "ephemeral": {"not_types": ["*"]},
                "account_data": {"not_types": ["*"]},
            },
        }
        query = {"filter": json.dumps(only_messages), "timeout": int(wait * 1000) if since else 0}
        if since:
            query["since"] = since
        seconds = self._timings.bridge_answer + wait
        try:
            return await self._call("GET", f"{CLIENT}/sync?{urlencode(query)}", seconds=seconds)
        except BadRequest as error:
            raise UnknownPosition(str(error)) from None

    async def messages_before(self, room: str, token: str, until: str) -> dict[str, Any]:
        """A page of a room's events, newest first, between two tokens."""
        query = {"dir": "b", "from": token, "to": until, "limit": TIMELINE_EVENTS}
        return await self._call("GET", f"{CLIENT}/rooms/{_quoted(room)}/messages?{urlencode(query)}")

    async def event(self, room: str, event: str) -> dict[str, Any]:
        return await self._call("GET", f"{CLIENT}/rooms/{_quoted(room)}/event/{_quoted(event)}")

    async def send(self, room: str, type: str, transaction: str, content: Mapping[str, Any]) -> str:
        """Send an event to a room, once for each transaction; returns its id."""
        path = f"{CLIENT}/rooms/{_quoted(room)}/send/{type}/{_quoted(transaction)}"
        return _text(await self._call("PUT", path, content, of_room=True), "event_id")

    async def redact(self, room: str, event: str, transaction: str) -> None:
        path = f"{CLIENT}/rooms/{_quoted(room)}/redact/{_quoted(event)}/{_quoted(transaction)}"
        await self._call("PUT", path, {})

    async def upload(self, file: bytes, content_type: str, name: str) -> str:
        """Upload a file to the media repository; returns its mxc: URL."""
        path = f"/_matrix/media/v3/upload?{urlencode({'filename': name})}"
        body = await self._api.fetch("POST", path, _failure, self._timings.bridge_file, file, content_type)
        return _text(_parsed(body), "content_uri")

    async def download(self, address: str) -> bytes:
        """Download a file from the media repository by its mxc: URL.

        Raises:
            TooLarge: the file is larger than permitted, whatever its event says.
        """
        server, _, media = address.removeprefix("mxc://").partition("/")
        if not address.startswith("mxc://") or not server or not media or "/" in media:
            raise Rejected("its file has no address")
        where = f"{_quoted(server)}/{_quoted(media)}?timeout_ms={int(self._timings.bridge_answer * 500)}"
        fetch = partial(self._files.fetch, failure=_failure, seconds=self._timings.bridge_file)
        try:
            return await fetch("GET", f"/_matrix/client/v1/media/download/{where}")
        except Unrecognized:  # a server before Matrix 1.11
            return await fetch("GET", f"/_matrix/media/v3/download/{where}&allow_redirect=false")

    async def _call(
        self,
        method: str,
        path: str,
        content: Mapping[str, Any] | None = None,
        *,
        seconds: float | None = None,
        of_room: bool = False,
    ) -> dict[str, Any]:
        body = None if content is None else msgspec.json.encode(content)
        failure, seconds = partial(_failure, of_room=of_room), seconds or self._timings.bridge_answer
        return _parsed(await self._api.fetch(method, path, failure, seconds, body))


class BadRequest(Rejected):
    """The homeserver answers 400."""


class UnknownPosition(Rejected):
    """The homeserver does not know the token of a sync."""


class Unrecognized(Rejected):
    """The homeserver does not know this endpoint."""


def _failure(error: HTTPClientError, *, of_room: bool = False) -> Exception:
    """The exception for an answer other than 200, without the server's text, which may quote messages."""
    answer = error_body(error)
    code = answer.get("errcode")
    code = code if isinstance(code, str) and code.replace("_", "").isalnum() and len(code) < 60 else ""
    reason = f"the homeserver answers {error.code} {code}".strip()
    if error.code == 429:
        return Delayed(Trouble.RATE_LIMITED, reason, _retry_after(error, answer))
    if error.code == 401:
        return Delayed(Trouble.UNAUTHORIZED, f"{reason}: the token is wrong or has ended")
    if error.code >= 500 or 300 <= error.code < 400 or error.code == 408:
        return Delayed(Trouble.SERVER_ERROR, reason)
    if error.code == 404 and code in ("M_UNRECOGNIZED", ""):
        return Unrecognized(reason)
    if of_room and error.code in (403, 404):
        return Delayed(Trouble.NO_ROOM, f"{reason}: the bridge may not write in the room")
    return BadRequest(reason) if error.code == 400 else Rejected(reason)


def _retry_after(error: HTTPClientError, answer: Mapping[str, Any]) -> float | None:
    """Seconds from the body (before Matrix 1.10) or the header, bounded."""
    after = answer.get("retry_after_ms")
    seconds = after / 1000 if isinstance(after, int | float) else None
    header = error.response.headers.get("Retry-After", "") if error.response else ""
    if header.isdecimal():
        seconds = float(header)
    return None if seconds is None else min(max(seconds, 0.0), 600.0)


def _parsed(body: bytes) -> dict[str, Any]:
    answer = json_object(body)
    if answer is None:
        raise Delayed(Trouble.SERVER_ERROR, "the homeserver answers something that is no JSON object")
    return answer


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise Delayed(Trouble.SERVER_ERROR, f"the homeserver's answer has no {name}")
    return value


def _quoted(text: str) -> str:
    return quote(text, safe="")
