"""Request coalescing and caching: concurrent requests share one read, and the encoded answer is cached briefly."""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Generic, NamedTuple, TypeVar

from gischat.timings import Timings

BYTES_PER_SECOND = 20e6  # reading and encoding a megabyte takes 3 ms of this process, and as much of Redis

SMALL_BYTES = 100_000
TAGGED_BYTES = 2**20  # in one step: a millisecond

T = TypeVar("T")


class SharedRead(Generic[T]):
    """Request coalescing: one read at a time; all requests that arrive meanwhile share the next one."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._current: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def get(self, *, joins_current: bool = False) -> T:
        """The result of a read that starts from now on; its error is raised for all.

        Args:
            joins_current: the result of the current read, if any, will do.
        """
        if joins_current and self._current is not None:
            return await asyncio.shield(self._current)
        if self._next is None:
            self._next = asyncio.create_task(self._read_after(self._current))
            self._next.add_done_callback(_end)
        return await asyncio.shield(self._next)

    async def _read_after(self, reading: "asyncio.Task[T] | None") -> T:
        if reading is not None:
            await asyncio.wait([reading])
        # For requests from here on, this read's answer may be too old.
        self._current, self._next = self._next, None
        try:
            return await self._read()
        finally:
            self._current = None  # drops the result, which may be large


def _end(reading: "asyncio.Task[T]") -> None:
    """Retrieve the exception of a read whose requesters may all be gone, so that asyncio does not log it."""
    if not reading.cancelled():
        reading.exception()


class CachedBody(NamedTuple):
    """A JSON body, shared by all answers, and its entity tag (RFC 9110 §8.8.3)."""

    body: bytes
    etag: str

    @classmethod
    async def of(cls, body: bytes) -> "CachedBody":
        """Compute the tag; other tasks run after each megabyte."""
        digest = blake2b(digest_size=16)
        for at in range(0, len(body), TAGGED_BYTES):
            if at:
                await asyncio.sleep(0)
            digest.update(memoryview(body)[at : at + TAGGED_BYTES])
        return cls(body, f'"{digest.hexdigest()}"')


class ReadPacer:
    """Limits large reads of all channels together to a number of bytes per second.

    That also limits the memory of their cached results.
    """

    def __init__(self, bytes_per_second: float = BYTES_PER_SECOND) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0

    async def wait(self, size: int) -> None:
        """Wait until about `size` bytes may be read; small reads never wait."""
        if size <= SMALL_BYTES:
            return
        now = asyncio.get_running_loop().time()
        start = max(now, self._free_at)
        self._free_at = start + size / self._rate
        if start > now:
            await asyncio.sleep(start - now)


class CachedAnswer:
    """A cached answer, read and encoded once for concurrent requests.

    Changes invalidate it, so that no answer is older than what the front has delivered to its clients.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        pace: ReadPacer | None = None,
        seconds: float = Timings().answer_kept,
    ) -> None:
        """
        Args:
            pace: paces reads that may be large.
            seconds: lifetime of the answer, for changes of which the front is not notified.
        """
        self.fresh: CachedBody | None = None
        self._read = read
        self._seconds = seconds
        self._shared = SharedRead(self._read_and_keep)
        self._version = 0  # number of invalidations
        self._pace = pace
        self._size = 0  # of the last answer
        self._version_read = -1  # version of the current or last read

    def invalidate(self) -> None:
        """Invalidate the answer for requests from now on."""
        self.fresh = None
        self._version += 1

    async def get(self) -> CachedBody:
        """The answer; raises the error of its read."""
        if self.fresh is not None:
            return self.fresh
        return await self._shared.get(joins_current=self._version_read == self._version)

    async def _read_and_keep(self) -> CachedBody:
        if self._pace is not None:
            await self._pace.wait(self._size)
        version = self._version_read = self._version
        body = await self._read()
        self._size = len(body)
        answer = await CachedBody.of(body)
        if version == self._version:
            self.fresh = answer
            asyncio.get_running_loop().call_later(self._seconds, self._drop, answer)
        return answer

    def _drop(self, answer: CachedBody) -> None:
        if self.fresh is answer:
            self.fresh = None
