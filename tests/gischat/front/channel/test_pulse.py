"""Pings: everyone is asked once in an interval, and who does not answer in time is closed. Time is virtual."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gischat.front.channel.pulse import TIMED_OUT, Pulse
from tests.support.virtual_time import pass_time, virtual_time

INTERVAL, TIMEOUT = 20.0, 10.0


class Pinged:
    """A connection whose client answers soon, or never."""

    def __init__(self, number: int, *, answers: bool = True) -> None:
        self.number = number
        self.is_silent = False
        self.pinged: list[float] = []
        self.closed: list[tuple[float, int, str]] = []
        self._answers = answers

    def ping(self) -> None:
        loop = asyncio.get_running_loop()
        self.pinged.append(loop.time())
        self.is_silent = True
        if self._answers:
            loop.call_later(0.1, self._answer)

    def _answer(self) -> None:
        self.is_silent = False

    def close(self, code: int, reason: str) -> None:
        self.closed.append((asyncio.get_running_loop().time(), code, reason))


@contextlib.asynccontextmanager
async def pulse(*members: Pinged, interval: float = INTERVAL, answer_within: float = TIMEOUT) -> AsyncIterator[None]:
    connections = {member.number: member for member in members}
    rooms = cast(Any, {"QGIS": SimpleNamespace(connections=connections)})
    running = asyncio.create_task(Pulse(rooms, interval, answer_within).run())
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


@virtual_time
async def test_who_answers_stays() -> None:
    member = Pinged(7)
    async with pulse(member):
        await pass_time(10 * INTERVAL)
    assert member.closed == []


@virtual_time
async def test_who_does_not_answer_is_closed_when_the_time_for_it_is_over() -> None:
    member = Pinged(7, answers=False)
    async with pulse(member):
        await pass_time(2 * INTERVAL)
    at, code, reason = member.closed[0]
    assert at - member.pinged[0] == pytest.approx(TIMEOUT)
    assert (code, reason) == (1008, TIMED_OUT)


@virtual_time
async def test_without_a_time_for_the_answer_it_is_the_interval() -> None:
    member = Pinged(7, answers=False)
    async with pulse(member, answer_within=0):
        await pass_time(3 * INTERVAL)
    assert member.closed[0][0] - member.pinged[0] == pytest.approx(INTERVAL)


@virtual_time
async def test_who_answers_stays_however_long_the_time_for_it() -> None:
    member = Pinged(7)
    async with pulse(member, answer_within=INTERVAL):
        await pass_time(10 * INTERVAL)
    assert member.closed == []


@virtual_time
async def test_without_an_interval_nobody_is_pinged() -> None:
    member = Pinged(7, answers=False)
    async with pulse(member, interval=0, answer_within=0):
        await pass_time(1000)
    assert (member.pinged, member.closed) == ([], [])
