"""Whether a worker takes itself for deaf: only if its loop stands still although Redis answers."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.virtual_time import pass_time, virtual_time
from worker import __main__ as worker

DEAF_SECONDS = 20.0


class Consumer:
    """A consumer whose loop stands still from its beginning on."""

    def __init__(self) -> None:
        self.last_progress_at = asyncio.get_running_loop().time()
        self.may_answer = asyncio.Event()
        self.inbox = SimpleNamespace(lane="light", answers=self._answers)

    async def _answers(self) -> bool:
        await self.may_answer.wait()
        return True


@virtual_time
async def test_a_loop_that_stands_still_although_redis_answers_is_deaf() -> None:
    consumer = Consumer()
    consumer.may_answer.set()
    watch = asyncio.create_task(worker._watch(cast(Any, [consumer]), DEAF_SECONDS))
    await pass_time(DEAF_SECONDS - 0.1)
    assert not watch.done()
    with pytest.raises(worker.ConsumerStalled):
        await watch


@virtual_time
async def test_one_that_stood_still_while_redis_was_away_is_not() -> None:
    # Given a question that Redis answers when it comes back, after longer than a loop may stand still
    consumer = Consumer()
    watch = asyncio.create_task(worker._watch(cast(Any, [consumer]), DEAF_SECONDS))
    await pass_time(10 * DEAF_SECONDS)
    consumer.may_answer.set()
    # When it has been asked again, and before the loop has had time to go on
    await pass_time(DEAF_SECONDS - 0.1)
    # Then it is not deaf yet, and if it goes on, not at all
    assert not watch.done()
    consumer.last_progress_at = asyncio.get_running_loop().time()
    await pass_time(DEAF_SECONDS - 0.1)
    assert not watch.done()
    watch.cancel()
