"""Pings: each connection is pinged once per interval, and closed if it does not answer in time. Time is virtual."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gischat.front.close_status import PING_TIMEOUT
from gischat.front.connection.keepalive import SLICES, TURN_PINGS, Keepalive
from tests.support.virtual_time import freeze, pass_time, settle, virtual_time

INTERVAL, TIMEOUT = 20.0, 60.0
LOOK = INTERVAL / SLICES  # seconds between two checks, at most


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
async def test_each_connection_is_pinged_once_per_interval_and_not_all_at_once() -> None:
    members = [Pinged(number) for number in range(100)]
    async with pulse(*members):
        await pass_time(3 * INTERVAL + 0.1)
    assert {len(member.pinged) for member in members} == {3}
    assert len({member.pinged[0] for member in members}) > 10
    for member in members:
        first, second, _ = member.pinged
        assert second - first == pytest.approx(INTERVAL)


@virtual_time
async def test_a_crowd_is_pinged_over_several_turns_of_the_loop() -> None:
    members = [Pinged(number * SLICES) for number in range(10 * TURN_PINGS)]  # all in the first slice
    turns = [0]  # pings so far, at the end of each turn
    async with pulse(*members):
        await pass_time(LOOK)
        while turns[-1] < len(members):
            turns.append(sum(len(member.pinged) for member in members))
            await asyncio.sleep(0)
    assert max(after - before for before, after in itertools.pairwise(turns)) == TURN_PINGS


@pytest.mark.parametrize("late", [24.0, TIMEOUT - 1])
@virtual_time
async def test_a_client_that_answers_within_the_timeout_stays(late: float) -> None:
    """A busy QGIS answers half a minute later, after another ping."""
    member = Pinged(7, late=late)
    async with pulse(member):
        await pass_time(30 * INTERVAL)
    assert member.closed == []
    assert len(member.pinged) >= 29


@pytest.mark.parametrize(("answer_within", "seconds"), [(TIMEOUT, TIMEOUT), (2.5, 2.5), (0, INTERVAL)])
@virtual_time
async def test_a_client_that_does_not_answer_is_closed_after_the_timeout(answer_within: float, seconds: float) -> None:
    """The timeout, by default the interval, begins with the first ping; later pings do not extend it."""
    member = Pinged(7, late=None)
    async with pulse(member, answer_within=answer_within):
        await pass_time(seconds + 2 * INTERVAL)
    ((at, code, reason),) = member.closed
    assert seconds <= at - member.pinged[0] <= seconds + LOOK + 1e-6
    assert (code, reason) == PING_TIMEOUT[:2]
    assert member.told == [PING_TIMEOUT.user_message]


@virtual_time
async def test_after_a_pause_of_the_front_received_answers_are_read_first() -> None:
    member = Pinged(7, late=None)
    async with pulse(member):
        await pass_time(INTERVAL + 1)
        # When the front is frozen for longer than the timeout
        freeze(2 * TIMEOUT)
        await settle()
        assert member.closed == []
        # Then an answer received meanwhile is in time
        member._answer()
        await pass_time(LOOK)
    assert member.closed == []


@virtual_time
async def test_without_an_interval_no_pings_are_sent() -> None:
    member = Pinged(7, late=None)
    async with pulse(member, interval=0, answer_within=0):
        await pass_time(1000)
    assert (member.pinged, member.closed) == ([], [])
