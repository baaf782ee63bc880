"""The answer to a request: counts the bytes that its client has not read."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream

from gischat.front.limits.memory_budget import BufferOwner, MemoryBudget
from gischat.front.transport.write_scheduler import has_unsent

JOINED_BYTES = 2**16  # maximum of a body that is copied into one buffer with its headers


class Request(BufferOwner, Protocol):
    """The request that is answered."""

    def finish_after_body(self, finish: Callable[[], None]) -> None:
        """Call `finish` once the request has been read."""


class Answer:
    """The connection of a request, as Tornado's handlers use it.

    A large body is passed to the stream as it is. Tornado would join it with the headers, which means a copy for each
    client that gets the same answer.
    """

    __slots__ = ("_connection", "_memory", "_request")

    def __init__(self, connection: HTTP1Connection, request: Request, memory: MemoryBudget) -> None:
        self._connection = connection
        self._request = request
        self._memory = memory

    def finish(self) -> None:
        self._request.finish_after_body(self._connection.finish)

    def detach(self) -> IOStream:
        del self._request  # a websocket lives long, and would keep its request in memory
        return self._connection.detach()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def write_headers(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None = None
    ) -> "asyncio.Future[None]":
        if chunk is not None and len(chunk) > JOINED_BYTES:
            self._connection.write_headers(start_line, headers)
            return self.write(chunk)
        written = self._connection.write_headers(start_line, headers, chunk)
        if chunk and (done := self._written()) is not None:
            request, size = self._request, len(chunk)
            self._memory.reserve(request, size)
            done.add_done_callback(lambda _: self._memory.release(request, size))
        return written

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        written = self._connection.write(chunk)
        if chunk and (done := self._written()) is not None:
            request = self._request
            self._memory.reserve_data(request, chunk)
            done.add_done_callback(lambda _: self._memory.release_data(request, chunk))
        return written

    def _written(self) -> "asyncio.Future[None] | None":
        """A future of when all buffered data is written or the connection closed; None if there is no data."""
        stream = self._connection.stream
        return None if stream is None or stream.closed() or not has_unsent(stream) else stream.write(b"")
