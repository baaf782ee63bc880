"""A front's leases, and its reactions to Redis's answers to renewals. Time is virtual."""

import asyncio
import math
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from gischat.broker.presence import Renewal
from gischat.front.dispatch.stream_position import StreamPosition
from gischat.front.subscription.lease import LeaseKeeper
from gischat.timings import Timings
from tests.gischat.front.fakes import CHANNEL
from tests.support.virtual_time import pass_time, virtual_time

RENEWAL = Timings().lease_renewal


class Scene:
    """A front's lease in one channel, which Redis renews as the test decides."""

    def __init__(self, *renewals: Renewal) -> None:
        self._renewals = iter(renewals)
        self.said: list[str] = []
        user_count = SimpleNamespace(republish=lambda: self.said.append("count"), differs_from=bool)
        self.position = StreamPosition()
        self.position.start_at(5)
        self.room = SimpleNamespace(
            channel=CHANNEL, offset=5, connections={}, user_count=user_count, caught_up_at=math.inf
        )
        reports = SimpleNamespace(state_lost=lambda channel: self.said.append("loss"))
        subscriber = SimpleNamespace(check_lag=lambda heard, published: set())
        broker = SimpleNamespace(inbox=self, presence=self)
        dispatcher = SimpleNamespace(reports=reports, positions={CHANNEL: self.position})
        parts: list[Any] = [broker, {CHANNEL: self.room}, dispatcher, subscriber]
        self.leases = LeaseKeeper(*parts)

    @property
    def intact_at(self) -> float:
        """Loop time when Redis is known to have been intact."""
        return self.leases.intact_until(CHANNEL) + Timings().redis_loss

    async def find_damage(self, channels: Iterable[str]) -> dict[str, list[str]]:
        return {}

    async def renew_leases(self, channels: Iterable[str], lease: float) -> dict[str, Renewal]:
        return dict.fromkeys(channels, next(self._renewals))


@pytest.mark.parametrize(
    ("renewal", "said"),
    [
        (Renewal(True, 5), []),
        (Renewal(True, 5, had_expired=True), ["count"]),
        (Renewal(True, 5, connections=3), ["count"]),  # which differs from the published number
        (Renewal(False, 5), ["loss"]),
        (Renewal(True, 4), ["loss"]),
    ],
)
@virtual_time
async def test_lost_counts_are_published_again_and_losses_are_reported(renewal: Renewal, said: list[str]) -> None:
    scene = Scene(renewal, Renewal(True, 5))
    running = asyncio.create_task(scene.leases.run())
    await pass_time(2.5 * RENEWAL)
    running.cancel()
    assert scene.said == said


@virtual_time
async def test_an_answer_that_tells_of_a_loss_is_no_sign_that_redis_was_intact() -> None:
    """Recovery reads the time after the report, and replays what is newer."""
    scene = Scene(Renewal(True, 5), Renewal(True, 5), Renewal(False, 5), Renewal(True, 5))
    running = asyncio.create_task(scene.leases.run())
    await pass_time(2.5 * RENEWAL)
    assert scene.intact_at == RENEWAL
    await pass_time(2 * RENEWAL)
    assert scene.said == ["loss"]
    assert scene.intact_at == RENEWAL
    running.cancel()


@pytest.mark.parametrize(
    ("offset", "caught_up_at", "epoch", "is_proven"),
    [
        (6, 1.1, 0, True),
        (5, 1.1, 0, False),  # the front has not received what was published until the renewal
        (6, 0.9, 0, False),  # … or has received as much, but before the loss
        (6, 1.1, 1, False),  # it has received that, and thereby found out that offsets start again
    ],
)
@virtual_time
async def test_a_renewal_shows_redis_intact_when_all_published_until_then_follows_what_was_received(
    offset: int, caught_up_at: float, epoch: int, is_proven: bool
) -> None:
    """Since a loss, other fronts may have published more than was lost."""
    scene = Scene(Renewal(True, 6), Renewal(True, 6))
    running = asyncio.create_task(scene.leases.run())
    await pass_time(1.5 * RENEWAL)
    scene.position.offset, scene.position.epoch = offset, epoch
    scene.room.caught_up_at = caught_up_at * RENEWAL
    await pass_time(RENEWAL)
    running.cancel()
    assert scene.intact_at == (RENEWAL if is_proven else 0)
