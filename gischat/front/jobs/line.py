"""Large bodies stand in line on their way to Redis: one is brought at a time.

What is brought, and whose job is not taken yet, is bounded by nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gischat.errors import Cause, Refused
from gischat.streams.multiplexer import TOO_BUSY


class Line:
    """Those whose bodies are brought or wait for it. Where Redis is far away it grows: it has its bound, too."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._waiting: set[asyncio.Task[Any]] = set()
        self._turn = asyncio.Lock()
        self._failed_at = 0.0  # when one could not be brought

    def enter(self, size: int, bring: Callable[[], Awaitable[int]]) -> "asyncio.Future[int]":
        """Calls `bring` when it is its turn, for a body of so many bytes; the future has what it returns.

        It fails with `Refused` when the line is too long, or Redis was found to be out of reach meanwhile.
        """
        task = asyncio.create_task(self._wait_and_bring(size, bring))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return task

    async def send_home(self) -> None:
        """Those who still wait are cancelled, and whoever asked for them knows it by then."""
        waiting = list(self._waiting)
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting)

    async def _wait_and_bring(self, size: int, bring: Callable[[], Awaitable[int]]) -> int:
        if self._bytes and self._bytes + size > self._most_bytes:
            raise Refused(TOO_BUSY, Cause.QUEUE_FULL)
        self._bytes += size
        try:
            return await self._bring_in_turn(bring)
        finally:
            self._bytes -= size

    async def _bring_in_turn(self, bring: Callable[[], Awaitable[int]]) -> int:
        now = asyncio.get_running_loop().time
        began = now()
        async with self._turn:
            task = asyncio.current_task()
            assert task is not None
            self._waiting.discard(task)
            if self._failed_at > began:  # those who waited are not to wait one after the other for the same
                raise Refused(TOO_BUSY)
            try:
                return await bring()
            except Refused:
                self._failed_at = now()
                raise
