"""What many ask for at once: read once for all of them, and kept for a moment as it goes over the wire."""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Generic, NamedTuple, TypeVar

from gischat.timings import Timings

BYTES_PER_SECOND = 20e6  # to read and encode a megabyte is 3 ms of work of this process, and as much of Redis'

SMALL_BYTES = 100_000

T = TypeVar("T")


class SharedRead(Generic[T]):
    """Request coalescing: one read is under way at a time, and all who ask meanwhile share the next."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._current: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def get(self, *, joins_current: bool = False) -> T:
        """What is read from now on; it fails for all as the read does.

        Args:
            joins_current: what a read finds that is under way will do.
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
        # From here on the answer may be older than whoever asks.
        self._current, self._next = self._next, None
        try:
            return await self._read()
        finally:
            self._current = None  # what was read may be large, and is for those who wait for it


def _end(reading: "asyncio.Task[T]") -> None:
    """Whoever waited may be gone: a failure that nobody asks for is none to complain about."""
    if not reading.cancelled():
        reading.exception()


class CachedBody(NamedTuple):
    """A body of JSON, the same bytes for all, and its entity tag (RFC 9110 §8.8.3)."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, body: bytes) -> "CachedBody":
        return cls(body, f'"{blake2b(body, digest_size=16).hexdigest()}"')


class ReadPacer:
    """Spreads large reads over time: so many bytes a second, whichever channels they are of.

    What is kept of them for a moment is bounded by that, too.
    """

    def __init__(self, bytes_per_second: float = BYTES_PER_SECOND) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0

    async def wait(self, size: int) -> None:
        """Waits until something of about that size may be read; what is small never waits behind what is large."""
        if size <= SMALL_BYTES:
            return
        now = asyncio.get_running_loop().time()
        start = max(now, self._free_at)
        self._free_at = start + size / self._rate
        if start > now:
            await asyncio.sleep(start - now)


class CachedAnswer:
    """An answer that is read and encoded once for all who ask within a moment.

    What happens meanwhile invalidates it: nobody is answered with less than what the front has told its clients.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        pace: ReadPacer | None = None,
        seconds: float = Timings().answer_kept,
    ) -> None:
        """
        Args:
            pace: of reads that may be large.
            seconds: how long it is kept, for the case that something happens of which this front does not hear.
        """
        self.fresh: CachedBody | None = None
        self._read = read
        self._seconds = seconds
        self._shared = SharedRead(self._read_and_keep)
        self._version = 0  # how often it was invalidated
        self._pace = pace
        self._size = 0  # of what was read last
        self._version_read = -1  # of the read that is, or was last, under way

    def invalidate(self) -> None:
        """Something has happened: whoever asks from now on must be told."""
        self.fresh = None
        self._version += 1

    async def get(self) -> CachedBody:
        """The answer; it fails as reading does."""
        if self.fresh is not None:
            return self.fresh
        return await self._shared.get(joins_current=self._version_read == self._version)

    async def _read_and_keep(self) -> CachedBody:
        if self._pace is not None:
            await self._pace.wait(self._size)
        version = self._version_read = self._version
        body = await self._read()
        self._size = len(body)
        answer = CachedBody.of(body)
        if version == self._version:
            self.fresh = answer
            asyncio.get_running_loop().call_later(self._seconds, self._drop, answer)
        return answer

    def _drop(self, answer: CachedBody) -> None:
        if self.fresh is answer:
            self.fresh = None
