"""The user count: its publication after joins and leaves. Time is virtual: no test waits."""

from typing import Any, cast

import msgspec
import pytest

from gischat.broker.entries import COUNT, Outcome
from gischat.broker.inbox import EnqueueResult
from gischat.errors import Unavailable
from gischat.front.channel.user_count import UserCount
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.protocol.messages import uncompliant
from tests.gischat.front.fakes import CHANNEL, ENQUEUED, FULL, FakeBroker, publication
from tests.support.settings import settings
from tests.support.virtual_time import pass_time, settle, virtual_time

A_WHILE = 5.0  # longer than delays and retries


class Scene:
    """A channel's user count with a Redis that answers as the test decides."""

    def __init__(self, *, answers: bool = True) -> None:
        self.broker = cast("Any", FakeBroker(answers=answers))
        self.dispatcher = Dispatcher(self.broker, settings())
        self.user_count = UserCount(CHANNEL, self.dispatcher)

    def told(self) -> list[int]:
        """The published numbers, in order."""
        return [msgspec.json.decode(job.body)["connections"] for job in self.broker.jobs if job.type == COUNT]

    def end(self, outcome: Outcome = Outcome.PUBLISHED) -> None:
        """Complete the last job, like a worker."""
        source, body = self.broker.jobs[-1].source, uncompliant("No.")
        self.dispatcher.complete(publication(1, body, source=source, outcome=outcome, type="nb_users"))


@virtual_time
async def test_a_change_counts_as_published_only_by_a_count_that_includes_it() -> None:
    # Given a count in flight
    scene = Scene()
    first = scene.user_count.add(+1)
    assert (scene.told(), scene.user_count.published_version) == ([1], 0)
    # When many join meanwhile
    for _ in range(1000):
        last = scene.user_count.add(+1)
    await pass_time(A_WHILE)
    # Then the next count waits for the first, which does not include them
    assert scene.told() == [1]
    scene.end()
    assert first <= scene.user_count.published_version < last
    # And one is published after it, without another request
    await pass_time(A_WHILE)
    assert scene.told() == [1, 1001]
    scene.end()
    assert scene.user_count.published_version == last


@pytest.mark.parametrize("failure", [FULL, Unavailable("Redis is away"), Outcome.REFUSED])
@virtual_time
async def test_a_failed_count_is_retried_with_the_newest_number(failure: EnqueueResult | Exception | Outcome) -> None:
    # Given a count that repeatedly cannot be published
    scene = Scene(answers=False)
    scene.user_count.add(+1)
    for _ in range(3):
        if isinstance(failure, Outcome):
            scene.end(failure)
        else:
            scene.broker.enqueued[-1].answer(failure)
        await settle()
        assert scene.user_count.published_version == 0
        scene.user_count.add(+1)
        await pass_time(A_WHILE)
    # When it can be, then it has the newest number
    assert scene.told()[-1] == 4
    scene.broker.enqueued[-1].answer(ENQUEUED)
    scene.end()
    assert scene.user_count.published_version == scene.user_count.version
    # And nothing remains to be published
    tries = len(scene.told())
    await pass_time(A_WHILE)
    assert len(scene.told()) == tries
