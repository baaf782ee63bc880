"""The upload queue: large bodies are sent to Redis one at a time, fairly by network address.

The order is start-time fair queueing (Goyal, Vin, Cheng 1996) over addresses, the least finish time first: all
addresses with pending uploads get equal shares, and an address with a small upload waits for the current one at most,
however many uploads of another address are pending. How much may be pending is for the caller to decide.
"""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from gischat.broker.client import TOO_BUSY
from gischat.errors import Unavailable

Upload = Callable[[], Awaitable[Any]]  # uploads one body


class _QueuedUpload(NamedTuple):
    """A pending upload; the least one starts next. `start` and `finish` are virtual times, in bytes."""

    finish: int
    number: int  # of its arrival: the order of equal ones
    start: int
    started: "asyncio.Future[None]"


class UploadQueue:
    """The current upload and the pending ones."""

    def __init__(self) -> None:
        self._pending: set[asyncio.Task[Any]] = set()
        self._small_uploads: set[asyncio.Task[Any]] = set()
        self._queued: list[_QueuedUpload] = []  # a heap
        self._numbers = itertools.count()
        self._is_busy = False
        self._virtual_time = 0  # the start of the current upload
        self._finish: dict[str, int] = {}  # of each address's last upload
        self._failed_at = 0.0  # loop time of the last failure

    def submit(self, address: str, size: int, upload: Upload) -> "asyncio.Future[Any]":
        """Queue an upload of `size` bytes; returns the future of its result.

        The future fails with `Unavailable` if another upload failed while this one waited.
        """
        task = asyncio.create_task(self._upload_in_turn(address, size, upload))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    def submit_small(self, upload: Upload) -> "asyncio.Future[Any]":
        """Start an upload at once, since its body is too small to be queued; returns the future of its result."""
        task = asyncio.ensure_future(upload())
        self._small_uploads.add(task)
        task.add_done_callback(self._small_uploads.discard)
        return task

    async def cancel_pending(self) -> None:
        """Cancel all pending uploads; afterwards their futures are done, and their callbacks have run."""
        waiting = list(self._pending)
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting)

    async def _upload_in_turn(self, address: str, size: int, upload: Upload) -> Any:
        now = asyncio.get_running_loop().time
        began = now()
        async with self._turn(address, size):
            task = asyncio.current_task()
            assert task is not None
            self._pending.discard(task)
            if self._failed_at > began:  # do not let all pending uploads wait for the same timeout in sequence
                raise Unavailable(TOO_BUSY)
            try:
                return await upload()
            except Unavailable:
                self._failed_at = now()
                raise

    @asynccontextmanager
    async def _turn(self, address: str, size: int) -> AsyncIterator[None]:
        start = max(self._virtual_time, self._finish.get(address, 0))
        self._finish[address] = start + size
        if self._is_busy:
            await self._wait_for_turn(start, start + size)
        self._is_busy = True
        try:
            yield
        finally:
            self._start_next()

    async def _wait_for_turn(self, start: int, finish: int) -> None:
        started = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queued, _QueuedUpload(finish, next(self._numbers), start, started))
        try:
            await started
        except asyncio.CancelledError:
            if not started.cancelled():  # its turn came at the same moment
                self._start_next()
            raise

    def _start_next(self) -> None:
        while self._queued:
            queued = heapq.heappop(self._queued)
            if not queued.started.done():
                self._virtual_time = queued.start
                queued.started.set_result(None)
                return
        self._is_busy = False
        self._virtual_time = 0
        self._finish.clear()
