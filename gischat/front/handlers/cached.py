"""Cached answers to the requests that every QGIS sends after each `nb_users`, without Tornado's handlers, which would
take most of the time.

Only the usual case takes this path: a GET from a client that is not banned, for a cached answer about a public channel.
The handlers in `rest` answer all other requests, and give the same answers.
"""

import logging
import time
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, ResponseStartLine, format_timestamp

from gischat.front.auth.access_keys import key_of
from gischat.front.channel.cache import CachedAnswer, CachedBody
from gischat.front.channel.room import Room
from gischat.front.handlers import rest
from gischat.front.handlers.access_log import REQUEST_ID, log_answered, request_id
from gischat.front.handlers.base import COMMON_HEADERS, FOR_DATA, JSON
from gischat.front.services import Services

OK = ResponseStartLine("HTTP/1.1", 200, "OK")
AS_CHANNELS_ARE_WRITTEN = ("", "!$&'()*+,;=:@")  # not percent-encoded: by strict clients, and by Qt


class Read(NamedTuple):
    """A cached resource."""

    cached: CachedAnswer
    handler: type[rest.JsonHandler]  # gives the same answer
    room: Room | None = None


class CachedReads:
    """The cached resources by path."""

    def __init__(self, front: Services) -> None:
        self._front = front
        self._reads = {"/status": Read(front.status, rest.Status)}
        for channel, room in front.rooms.items():
            if not front.channel_auth.is_private(channel):
                read = Read(room.answers.users, rest.Users, room)
                for safe in AS_CHANNELS_ARE_WRITTEN:
                    self._reads[f"/channel/{quote(channel, safe=safe)}/users"] = read

    def find(self, request: HTTPServerRequest) -> "CachedRead | None":
        """A delegate that answers a request from the cache; None if a handler has to."""
        read = self._reads.get(request.path)
        if read is None or (read.room is None and key_of(request) is not None):  # with a key, fewer channels are listed
            return None
        if read.cached.fresh is None or request.method != "GET" or "If-None-Match" in request.headers:
            return None
        if read.room is not None and read.room.bans.of_address(str(request.remote_ip)) is not None:
            return None
        return CachedRead(self._front, request, read.cached.fresh, read.handler)


class CachedRead(HTTPMessageDelegate):
    """Answers one request from the cache."""

    def __init__(
        self, front: Services, request: HTTPServerRequest, answer: CachedBody, handler_class: type[rest.JsonHandler]
    ) -> None:
        self._front = front
        self._request = request
        self._answer = answer
        self.handler_class = handler_class

    def finish(self) -> None:
        request, connection = self._request, self._request.connection
        assert connection is not None
        headers = HTTPHeaders(
            {
                **_ALWAYS,
                "Date": _date(int(time.time())),
                REQUEST_ID: request_id(request),
                "Etag": self._answer.etag,
                "Content-Length": str(len(self._answer.body)),
                **self._front.origins.headers(request),
            }
        )
        connection.write_headers(OK, headers, self._answer.body)
        connection.finish()
        log_answered(request, logging.DEBUG, OK.code, len(self._answer.body))


_ALWAYS = {
    **COMMON_HEADERS,
    "Content-Security-Policy": FOR_DATA,
    "Content-Type": JSON,
    "Cache-Control": "no-store",
}


@lru_cache(maxsize=1)
def _date(seconds: int) -> str:
    return format_timestamp(seconds)
