"""A front's signs of life, and what it makes of Redis' answers to them. Time is virtual."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gischat.front.dispatch.gateway import Renewal
from gischat.front.subscription.lease import LeaseKeeper
from gischat.timings import Timings
from tests.gischat.front.fakes import CHANNEL
from tests.support.virtual_time import pass_time, virtual_time


class Scene:
    """A front's presence in one channel, whose leases Redis renews as the test says."""

    def __init__(self, *renewals: Renewal) -> None:
        self._renewals = iter(renewals)
        self.told_again: list[str] = []
        said = self.told_again.append
        user_count = SimpleNamespace(republish=lambda: said("count"), differs_from=bool)
        room = SimpleNamespace(
            channel=CHANNEL, offset=5, connections={}, user_count=user_count, reset=lambda: said("all")
        )
        dispatcher = SimpleNamespace(replay=lambda channel, since: said("messages"))
        subscriber = SimpleNamespace(check_lag=lambda heard, published: set(), rewind=self.go_back)
        parts: list[Any] = [self, {CHANNEL: room}, dispatcher, subscriber]
        self.presence = LeaseKeeper(*parts)

    async def go_back(self, channel: str) -> None:
        self.told_again.append("place")

    async def find_damage(self, channel: str) -> list[str]:
        return []

    async def renew_lease(self, channel: str, lease: float, *, is_forgotten: bool = False) -> Renewal:
        return Renewal(True, 5) if is_forgotten else next(self._renewals)


@pytest.mark.parametrize(
    ("renewal", "told_again"),
    [
        (Renewal(True, 5), []),
        (Renewal(True, 5, had_expired=True), ["count"]),
        (Renewal(True, 5, connections=3), ["count"]),  # which is not what it was told
        (Renewal(False, 5), ["place", "all", "messages", "count"]),
        (Renewal(True, 4), ["place", "all", "messages", "count"]),
    ],
)
@virtual_time
async def test_what_others_do_not_know_any_more_is_told_again(renewal: Renewal, told_again: list[str]) -> None:
    scene = Scene(renewal, Renewal(True, 5))
    running = asyncio.create_task(scene.presence.run())
    await pass_time(2.5 * Timings().lease_renewal)
    running.cancel()
    assert scene.told_again == told_again
