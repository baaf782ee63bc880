"""Pings: everyone is asked once in an interval, and who does not answer in time is closed. Time is virtual."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gischat.front.close_status import PING_TIMEOUT
from gischat.front.connection.keepalive import SLICES, Keepalive
from tests.support.virtual_time import freeze, pass_time, settle, virtual_time

INTERVAL, TIMEOUT = 20.0, 60.0
LOOK = INTERVAL / SLICES  # seconds between two looks, at the most


class Pinged:
    """A connection whose client answers a ping `late` seconds later, or never."""

    def __init__(self, number: int, *, late: float | None = 0.1) -> None:
        self.id = number
        self.pinged: list[float] = []
        self.closed: list[tuple[float, int, str]] = []
        self.told: list[str] = []
        self._asked_at: float | None = None
        self._late = late

    @property
    def awaiting_pong(self) -> bool:
        return self._asked_at is not None and not self.closed

    def pong_overdue(self, seconds: float) -> bool:
        return self._asked_at is not None and asyncio.get_running_loop().time() - self._asked_at >= seconds

    def ping(self) -> None:
        loop = asyncio.get_running_loop()
        self.pinged.append(loop.time())
        if self._asked_at is None:
            self._asked_at = loop.time()
        if self._late is not None:
            loop.call_later(self._late, self._answer)

    def _answer(self) -> None:
        self._asked_at = None

    def close(self, code: int, reason: str, told: str) -> None:
        self.closed.append((asyncio.get_running_loop().time(), code, reason))
        self.told.append(told)


@contextlib.asynccontextmanager
async def pulse(*members: Pinged, interval: float = INTERVAL, answer_within: float = TIMEOUT) -> AsyncIterator[None]:
    connections = {member.id: member for member in members}
    rooms = cast(Any, {"QGIS": SimpleNamespace(connections=connections)})
    running = asyncio.create_task(Keepalive(rooms, interval, answer_within).run())
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@virtual_time
async def test_everyone_is_pinged_once_in_an_interval_and_not_all_at_once() -> None:
    members = [Pinged(number) for number in range(100)]
    async with pulse(*members):
        await pass_time(3 * INTERVAL + 0.1)
    assert {len(member.pinged) for member in members} == {3}
    assert len({member.pinged[0] for member in members}) > 10
    for member in members:
        first, second, _ = member.pinged
        assert second - first == pytest.approx(INTERVAL)


@pytest.mark.parametrize("late", [0.1, 24.0, TIMEOUT - 1])
def test_who_answers_stays_however_late_within_the_time_for_it(late: float) -> None:
    """QGIS, in the midst of a computation, answers half a minute later: after another ping."""

    @virtual_time
    async def run() -> None:
        member = Pinged(7, late=late)
        async with pulse(member):
            await pass_time(30 * INTERVAL)
        assert member.closed == []
        assert len(member.pinged) >= 29

    run()


@pytest.mark.parametrize("timeout", [TIMEOUT, INTERVAL, 2.5])
def test_who_does_not_answer_is_closed_when_the_time_for_it_is_over(timeout: float) -> None:
    """The first ping counts: that others follow it gives no more time."""

    @virtual_time
    async def run() -> None:
        member = Pinged(7, late=None)
        async with pulse(member, answer_within=timeout):
            await pass_time(timeout + 2 * INTERVAL)
        ((at, code, reason),) = member.closed
        assert timeout <= at - member.pinged[0] <= timeout + LOOK + 1e-6
        assert (code, reason) == PING_TIMEOUT[:2]
        assert member.told == [PING_TIMEOUT.user_message]

    run()


@virtual_time
async def test_without_a_time_for_the_answer_it_is_the_interval() -> None:
    member = Pinged(7, late=None)
    async with pulse(member, answer_within=0):
        await pass_time(3 * INTERVAL)
    assert INTERVAL <= member.closed[0][0] - member.pinged[0] <= INTERVAL + LOOK + 1e-6


@virtual_time
async def test_after_a_pause_of_our_own_what_has_come_meanwhile_is_read_first() -> None:
    member = Pinged(7, late=None)
    async with pulse(member):
        await pass_time(INTERVAL + 1)
        # When the front is frozen for longer than an answer may take
        freeze(2 * TIMEOUT)
        await settle()
        assert member.closed == []
        # Then an answer that waited meanwhile is in time
        member._answer()
        await pass_time(LOOK)
    assert member.closed == []


@virtual_time
async def test_without_an_interval_nobody_is_pinged() -> None:
    member = Pinged(7, late=None)
    async with pulse(member, interval=0, answer_within=0):
        await pass_time(1000)
    assert (member.pinged, member.closed) == ([], [])
