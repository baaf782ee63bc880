"""Whether a worker takes itself for deaf: only if its loop stands still although Redis answers."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker import __main__ as worker

DEAF_SECONDS = 0.5  # shorter than in life


class Consumer:
    """A consumer whose loop stands still from its beginning on."""

    def __init__(self) -> None:
        self.turned_at = time.monotonic()
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.gateway = SimpleNamespace(lane="light", answers=self._answers)

    async def _answers(self) -> bool:
        self.asked += 1
        await self.may_answer.wait()
        return True


async def test_a_loop_that_stands_still_although_redis_answers_is_deaf() -> None:
    consumer = Consumer()
    consumer.may_answer.set()
    with pytest.raises(worker.Deaf):
        await worker._watch(cast(Any, [consumer]), DEAF_SECONDS)
    assert time.monotonic() - consumer.turned_at > DEAF_SECONDS


async def test_one_that_stood_still_while_redis_was_away_is_not() -> None:
    # Given a question that Redis answers when it comes back, after longer than a loop may stand still
    consumer = Consumer()
    watch = asyncio.create_task(worker._watch(cast(Any, [consumer]), DEAF_SECONDS))
    while not consumer.asked or time.monotonic() - consumer.turned_at < 2 * DEAF_SECONDS:
        await asyncio.sleep(0.01)
    consumer.may_answer.set()
    # When it has been asked again, and before the loop has had time to go on
    while consumer.asked < 3:
        await asyncio.sleep(0.01)
        assert not watch.done(), watch.exception()
    watch.cancel()
