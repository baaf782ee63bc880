"""What the parts of a front notice about Redis' state, on its way to the one that acts on it: the recovery."""

import asyncio
from enum import Enum, auto
from typing import NamedTuple


class Incident(Enum):
    """What can happen to what Redis holds, or to the way to it."""

    STATE_LOST = auto()  # Redis has lost what was published, or what this front had told it
    GAP = auto()  # publications were not heard, and never will be
    RECONNECTED = auto()  # a connection was lost, and is there again


class Report(NamedTuple):
    """An incident in a channel, or in all ("")."""

    incident: Incident
    channel: str = ""


class StateReports:
    """A mailbox: parts report, and go on. The same report that waits already is not taken twice."""

    def __init__(self) -> None:
        self._pending: dict[Report, None] = {}
        self._has_some = asyncio.Event()

    def state_lost(self, channel: str) -> None:
        self._put(Report(Incident.STATE_LOST, channel))

    def gap(self, channel: str) -> None:
        self._put(Report(Incident.GAP, channel))

    def reconnected(self) -> None:
        self._put(Report(Incident.RECONNECTED))

    def discard(self, report: Report) -> None:
        """What such a report says has been dealt with."""
        self._pending.pop(report, None)

    async def next(self) -> Report:
        """The oldest report, as soon as there is one."""
        while not self._pending:
            self._has_some.clear()
            await self._has_some.wait()
        report = next(iter(self._pending))
        del self._pending[report]
        return report

    def _put(self, report: Report) -> None:
        self._pending[report] = None
        self._has_some.set()
