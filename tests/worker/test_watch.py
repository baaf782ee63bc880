"""A worker detects that its loop has stalled: only if Redis answers meanwhile."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.virtual_time import pass_time, virtual_time
from worker import __main__ as worker

DEAF_SECONDS = 20.0


class Consumer:
    """A consumer whose loop is stalled from the start."""

    def __init__(self) -> None:
        self.last_progress_at = asyncio.get_running_loop().time()
        self.may_answer = asyncio.Event()
        self.inbox = SimpleNamespace(lane="light", answers=self._answers)

    async def _answers(self) -> bool:
        await self.may_answer.wait()
        return True


@virtual_time
async def test_a_stalled_loop_is_detected_while_redis_answers() -> None:
    consumer = Consumer()
    consumer.may_answer.set()
    watch = asyncio.create_task(worker._watch(cast(Any, [consumer]), DEAF_SECONDS))
    await pass_time(DEAF_SECONDS - 0.1)
    assert not watch.done()
    with pytest.raises(worker.ConsumerStalled):
        await watch


@virtual_time
async def test_a_loop_stalled_by_an_absent_redis_is_not_reported() -> None:
    # Given a command that Redis answers after its return, which takes longer than a loop may stall
    consumer = Consumer()
    watch = asyncio.create_task(worker._watch(cast(Any, [consumer]), DEAF_SECONDS))
    await pass_time(10 * DEAF_SECONDS)
    consumer.may_answer.set()
    # When it is asked again, before the loop has had time to continue
    await pass_time(DEAF_SECONDS - 0.1)
    # Then the loop is not reported, neither now nor after it continues
    assert not watch.done()
    consumer.last_progress_at = asyncio.get_running_loop().time()
    await pass_time(DEAF_SECONDS - 0.1)
    assert not watch.done()
    watch.cancel()
