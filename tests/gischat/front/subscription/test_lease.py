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
        user_count = SimpleNamespace(tell_again=lambda: said("count"), differs_from=bool)
        room = SimpleNamespace(
            channel=CHANNEL, published=5, connections={}, user_count=user_count, begin_anew=lambda: said("all")
        )
        dispatcher = SimpleNamespace(repeat=lambda channel, since: said("messages"))
        subscriber = SimpleNamespace(compare=lambda heard, published: set(), go_back=self.go_back)
        parts: list[Any] = [self, {CHANNEL: room}, dispatcher, subscriber]
        self.presence = LeaseKeeper(*parts)

    async def go_back(self, channel: str) -> None:
        self.told_again.append("place")

    async def damage(self, channel: str) -> list[str]:
        return []

    async def renew(self, channel: str, lease: float, *, is_forgotten: bool = False) -> Renewal:
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
