"""The user count: its publication after joins and leaves. Time is virtual: no test waits."""

from typing import Any, cast

import msgspec
import pytest

from gischat.broker.entries import COUNT, Outcome
from gischat.broker.inbox import EnqueueResult
from gischat.errors import Unavailable
from gischat.front.channel.user_count import UserCount
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.protocol.messages import Lane, uncompliant
from tests.gischat.front.fakes import CHANNEL, ENQUEUED, FRONT, FULL, FakeBroker, publication
from tests.support.settings import settings
from tests.support.virtual_time import pass_time, settle, virtual_time

A_WHILE = 5.0  # longer than delays and retries


class Scene:
    """A channel's user count with a Redis that answers as the test decides."""

    def __init__(self, *, answers: bool = True, **limits: int) -> None:
        self.broker = cast("Any", FakeBroker(answers=answers))
        self.dispatcher = Dispatcher(self.broker, settings(**limits))
        self.user_count = UserCount(CHANNEL, self.dispatcher)

    def told(self) -> list[int]:
        """The published numbers, in order."""
        return [msgspec.json.decode(job.body)["connections"] for job in self.broker.jobs]

    def end(self, outcome: Outcome = Outcome.PUBLISHED, body: bytes = b"{}") -> None:
        """Complete the last job, like a worker."""
        source = self.broker.jobs[-1].source
        self.dispatcher.complete(publication(1, body, source=source, outcome=outcome, type="nb_users"))


@virtual_time
async def test_the_first_join_is_published_at_once() -> None:
    scene = Scene()
    change = scene.user_count.add(+1)
    assert scene.told() == [1]
    (asked,) = scene.broker.enqueued
    assert (asked.channel, asked.lane, asked.job.type) == (CHANNEL, Lane.LIGHT, COUNT)
    assert asked.job.source.front == FRONT
    # The change counts as published when its publication is received, not earlier
    assert scene.user_count.published_version < change
    scene.end()
    assert scene.user_count.published_version == change


@virtual_time
async def test_a_thousand_joins_at_once_are_two_jobs() -> None:
    scene = Scene()
    changes = [scene.user_count.add(+1) for _ in range(1000)]
    assert changes == sorted(set(changes))
    await pass_time(0.01)
    scene.end()
    await pass_time(A_WHILE)
    scene.end()
    await pass_time(A_WHILE)
    assert scene.told() == [1, 1000]
    assert scene.user_count.published_version == changes[-1]


@virtual_time
async def test_a_change_counts_as_published_only_by_a_count_that_includes_it() -> None:
    # Given a count in flight
    scene = Scene()
    first = scene.user_count.add(+1)
    # When another connection joins meanwhile
    second = scene.user_count.add(+1)
    await pass_time(A_WHILE)
    # Then the next count waits for the first, which does not include the second join
    assert scene.told() == [1]
    scene.end()
    assert first <= scene.user_count.published_version < second
    # And the second is published after it, without another request
    await pass_time(A_WHILE)
    assert scene.told() == [1, 2]
    scene.end()
    assert scene.user_count.published_version >= second


@virtual_time
async def test_leaving_is_a_change_like_joining() -> None:
    scene = Scene()
    scene.user_count.add(+1)
    scene.end()
    await pass_time(A_WHILE)
    scene.user_count.add(-1)
    scene.end()
    assert scene.told() == [1, 0]
    assert scene.user_count.connections == 0
    assert scene.user_count.published_version == scene.user_count.version


@virtual_time
async def test_an_unchanged_count_can_be_published_again() -> None:
    scene = Scene()
    scene.user_count.add(+1)
    scene.end()
    await pass_time(A_WHILE)
    change = scene.user_count.republish()
    assert scene.told() == [1, 1]
    scene.end()
    assert scene.user_count.published_version == change


@virtual_time
@pytest.mark.parametrize("answer", [FULL, Unavailable("Redis is away")])
async def test_a_refused_count_is_retried_with_the_newest_number(
    answer: EnqueueResult | Exception,
) -> None:
    # Given a count that repeatedly cannot be enqueued
    scene = Scene(answers=False)
    scene.user_count.add(+1)
    for _ in range(3):
        taken = scene.broker.enqueued[-1].taken
        if isinstance(answer, EnqueueResult):
            taken.set_result(answer)
        else:
            taken.set_exception(answer)
        await settle()
        assert scene.user_count.published_version == 0
        scene.user_count.add(+1)
        await pass_time(A_WHILE)
    # When it can be, then it has the newest number
    assert scene.told()[-1] == 4
    scene.broker.enqueued[-1].taken.set_result(ENQUEUED)
    scene.end()
    assert scene.user_count.published_version == scene.user_count.version
    # And nothing remains to be published
    tries = len(scene.told())
    await pass_time(A_WHILE)
    assert len(scene.told()) == tries


@virtual_time
@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.DEAD_LETTERED])
async def test_a_failed_count_is_published_again(outcome: Outcome) -> None:
    scene = Scene()
    scene.user_count.add(+1)
    scene.end(outcome, uncompliant("No."))
    assert scene.user_count.published_version == 0
    await pass_time(A_WHILE)
    assert scene.told() == [1, 1]
    scene.end()
    assert scene.user_count.published_version == scene.user_count.version


@virtual_time
async def test_continuous_joins_and_leaves_are_published_a_few_times_a_second() -> None:
    scene = Scene()
    for number in range(1000):
        scene.user_count.add(+1 if number % 2 else -1)
        await pass_time(0.01)
        scene.end()
    await pass_time(A_WHILE)
    assert len(scene.told()) <= 42
    assert scene.told()[-1] == 0
