"""Large bodies stand in line on their way to Redis: one is brought at a time.

Whose turn it is goes by start-time fair queueing (Goyal, Vin, Cheng 1996) over network addresses, with the least finish
first: an address is owed as much as any other that has something to bring, and who brings little waits for no more than
the one that is being brought, however many wait of another. How much may wait is the caller's to say.
"""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from gischat.broker.client import TOO_BUSY
from gischat.errors import Unavailable

Upload = Callable[[], Awaitable[Any]]  # a body; returns what comes of it


class _QueuedUpload(NamedTuple):
    """The least is called next; start and finish are in bytes of the line's virtual time."""

    finish: int
    number: int  # of arrival, among equals
    start: int
    called: "asyncio.Future[None]"


class UploadQueue:
    """Those whose bodies are brought or wait for it."""

    def __init__(self) -> None:
        self._pending: set[asyncio.Task[Any]] = set()
        self._small_uploads: set[asyncio.Task[Any]] = set()
        self._queued: list[_QueuedUpload] = []  # a heap
        self._numbers = itertools.count()
        self._is_busy = False
        self._virtual_time = 0  # where the body starts that is being brought
        self._finish: dict[str, int] = {}  # where the last body of an address will end
        self._failed_at = 0.0  # when one could not be brought

    def submit(self, address: str, size: int, bring: Upload) -> "asyncio.Future[Any]":
        """Calls `bring` when it is its turn, for a body of so many bytes; the future has what it returns.

        It fails with `Unavailable` when Redis was found to be out of reach meanwhile.
        """
        task = asyncio.create_task(self._upload_in_turn(address, size, bring))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    def submit_small(self, bring: Upload) -> "asyncio.Future[Any]":
        """Calls `bring` at once, for a body that is too small to stand in line."""
        task = asyncio.ensure_future(bring())
        self._small_uploads.add(task)
        task.add_done_callback(self._small_uploads.discard)
        return task

    async def cancel_pending(self) -> None:
        """Those who still wait are cancelled, and whoever asked for them knows it by then."""
        waiting = list(self._pending)
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting)

    async def _upload_in_turn(self, address: str, size: int, bring: Upload) -> Any:
        now = asyncio.get_running_loop().time
        began = now()
        async with self._take_turn(address, size):
            task = asyncio.current_task()
            assert task is not None
            self._pending.discard(task)
            if self._failed_at > began:  # those who waited are not to wait one after the other for the same
                raise Unavailable(TOO_BUSY)
            try:
                return await bring()
            except Unavailable:
                self._failed_at = now()
                raise

    @asynccontextmanager
    async def _take_turn(self, address: str, size: int) -> AsyncIterator[None]:
        start = max(self._virtual_time, self._finish.get(address, 0))
        self._finish[address] = start + size
        if self._is_busy:
            await self._wait_to_be_called(start, start + size)
        self._is_busy = True
        try:
            yield
        finally:
            self._call_next()

    async def _wait_to_be_called(self, start: int, finish: int) -> None:
        called = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queued, _QueuedUpload(finish, next(self._numbers), start, called))
        try:
            await called
        except asyncio.CancelledError:
            if not called.cancelled():  # it was called in the same moment
                self._call_next()
            raise

    def _call_next(self) -> None:
        while self._queued:
            place = heapq.heappop(self._queued)
            if not place.called.done():
                self._virtual_time = place.start
                place.called.set_result(None)
                return
        self._is_busy = False
        self._virtual_time = 0
        self._finish.clear()
