"""The head count: what workers are told of who came and went. Time is virtual: no test waits."""

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

A_WHILE = 5.0  # longer than all that is gathered or tried again


class Scene:
    """A channel's head count over a Redis that answers as the test says."""

    def __init__(self, *, answers: bool = True, **limits: int) -> None:
        self.broker = cast("Any", FakeBroker(answers=answers))
        self.dispatcher = Dispatcher(self.broker, settings(**limits))
        self.user_count = UserCount(CHANNEL, self.dispatcher)

    def told(self) -> list[int]:
        """The numbers that the workers were told, in order."""
        return [msgspec.json.decode(job.body)["connections"] for job in self.broker.jobs]

    def end(self, outcome: Outcome = Outcome.PUBLISHED, body: bytes = b"{}") -> None:
        """A worker ends the last job."""
        source = self.broker.jobs[-1].source
        self.dispatcher.complete(publication(1, body, source=source, outcome=outcome, type="nb_users"))


@virtual_time
async def test_who_comes_first_is_told_at_once() -> None:
    scene = Scene()
    change = scene.user_count.add(+1)
    assert scene.told() == [1]
    (asked,) = scene.broker.enqueued
    assert (asked.channel, asked.lane, asked.job.type) == (CHANNEL, Lane.LIGHT, COUNT)
    assert asked.job.source.front == FRONT
    # The change counts as told when its publication is heard, not earlier
    assert scene.user_count.published_version < change
    scene.end()
    assert scene.user_count.published_version == change


@virtual_time
async def test_a_thousand_who_come_together_are_two_jobs() -> None:
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
async def test_a_change_counts_as_told_only_by_a_count_that_knows_of_it() -> None:
    # Given a count on its way
    scene = Scene()
    first = scene.user_count.add(+1)
    # When another comes meanwhile
    second = scene.user_count.add(+1)
    await pass_time(A_WHILE)
    # Then nothing follows before the first has ended, whose end does not tell of the second
    assert scene.told() == [1]
    scene.end()
    assert first <= scene.user_count.published_version < second
    # And the second is told after it, without being asked for again
    await pass_time(A_WHILE)
    assert scene.told() == [1, 2]
    scene.end()
    assert scene.user_count.published_version >= second


@virtual_time
async def test_going_is_a_change_as_coming_is() -> None:
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
async def test_a_count_can_be_told_again_though_nothing_has_changed() -> None:
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
async def test_a_count_that_was_not_taken_is_told_again_as_it_is_by_then(answer: EnqueueResult | Exception) -> None:
    # Given a count that cannot be enqueued, again and again
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
    # When it can be, then the number is the newest
    assert scene.told()[-1] == 4
    scene.broker.enqueued[-1].taken.set_result(ENQUEUED)
    scene.end()
    assert scene.user_count.published_version == scene.user_count.version
    # And all is said
    tries = len(scene.told())
    await pass_time(A_WHILE)
    assert len(scene.told()) == tries


@virtual_time
@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.DEAD_LETTERED])
async def test_a_count_that_a_worker_could_not_end_is_told_again(outcome: Outcome) -> None:
    scene = Scene()
    scene.user_count.add(+1)
    scene.end(outcome, uncompliant("No."))
    assert scene.user_count.published_version == 0
    await pass_time(A_WHILE)
    assert scene.told() == [1, 1]
    scene.end()
    assert scene.user_count.published_version == scene.user_count.version


@virtual_time
async def test_who_comes_and_goes_all_the_time_is_told_of_a_few_times_a_second() -> None:
    scene = Scene()
    for number in range(1000):
        scene.user_count.add(+1 if number % 2 else -1)
        await pass_time(0.01)
        scene.end()
    await pass_time(A_WHILE)
    assert len(scene.told()) <= 42
    assert scene.told()[-1] == 0
