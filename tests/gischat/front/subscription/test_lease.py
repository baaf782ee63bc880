"""A front's leases, and its reactions to Redis's answers to renewals. Time is virtual."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from gischat.broker.presence import Renewal
from gischat.front.subscription.lease import LeaseKeeper
from gischat.timings import Timings
from tests.gischat.front.fakes import CHANNEL
from tests.support.virtual_time import pass_time, virtual_time


class Scene:
    """A front's lease in one channel, which Redis renews as the test decides."""

    def __init__(self, *renewals: Renewal) -> None:
        self._renewals = iter(renewals)
        self.said: list[str] = []
        user_count = SimpleNamespace(republish=lambda: self.said.append("count"), differs_from=bool)
        room = SimpleNamespace(channel=CHANNEL, offset=5, connections={}, user_count=user_count)
        reports = SimpleNamespace(state_lost=lambda channel: self.said.append("loss"))
        subscriber = SimpleNamespace(check_lag=lambda heard, published: set())
        broker = SimpleNamespace(inbox=self, presence=self)
        parts: list[Any] = [broker, {CHANNEL: room}, SimpleNamespace(reports=reports), subscriber]
        self.leases = LeaseKeeper(*parts)

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
    await pass_time(2.5 * Timings().lease_renewal)
    running.cancel()
    assert scene.said == said


@virtual_time
async def test_an_answer_that_tells_of_a_loss_is_no_sign_that_redis_was_intact() -> None:
    """Recovery reads the time after the report, and replays what is newer."""
    scene = Scene(Renewal(True, 5), Renewal(False, 5))
    running = asyncio.create_task(scene.leases.run())
    await pass_time(1.5 * Timings().lease_renewal)
    intact_until = scene.leases.intact_until
    await pass_time(Timings().lease_renewal)
    assert scene.said == ["loss"]
    assert scene.leases.intact_until == intact_until
    running.cancel()
