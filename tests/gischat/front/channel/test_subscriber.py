"""Whether a front hears what is published, seen by the numbers alone. Time is virtual."""

from types import SimpleNamespace
from typing import Any

import pytest

from gischat.front.channel.subscriber import Deaf, Subscriber
from gischat.timings import Timings
from tests.gischat.front.fakes import CHANNEL
from tests.support.virtual_time import pass_time, virtual_time


class Scene:
    """A front that has heard so many publications of one channel, and hears no more."""

    def __init__(self, heard: int) -> None:
        self._heard = heard
        self.reconnections = 0
        reader: Any = SimpleNamespace(reconnect=self._reconnect)
        nothing: Any = None
        self._subscriber = Subscriber(nothing, [reader], {}, nothing)

    def _reconnect(self) -> None:
        self.reconnections += 1

    async def see(self, *published: int) -> None:
        """Compares once a second with what Redis says."""
        for number in published:
            self._subscriber.compare({CHANNEL: self._heard}, {CHANNEL: number})
            await pass_time(1)


LONG = int(Timings().outbox_deaf) + 2


@virtual_time
async def test_who_hears_nothing_of_what_is_published_connects_anew_and_then_gives_up() -> None:
    scene = Scene(heard=10)
    await scene.see(10, *[11] * LONG)
    assert scene.reconnections == 1
    with pytest.raises(Deaf):
        await scene.see(*[11] * LONG)


@virtual_time
async def test_who_hears_nothing_of_what_comes_after_a_loss_is_deaf_as_well() -> None:
    scene = Scene(heard=10)
    # When Redis has lost all, and what it publishes since is not heard, however little it is
    await scene.see(10, 0, *[3] * LONG)
    assert scene.reconnections == 1
    with pytest.raises(Deaf):
        await scene.see(*[3] * LONG)


@virtual_time
async def test_who_has_heard_more_than_redis_knows_is_not_deaf_while_nothing_is_published() -> None:
    """As when Redis has lost its last second, and no worker runs."""
    scene = Scene(heard=10)
    await scene.see(10, *[8] * 5 * LONG)
    assert scene.reconnections == 0
