"""Reports of lost state in Redis, from the parts of a front to the recovery."""

import asyncio
from enum import Enum, auto
from typing import NamedTuple


class Incident(Enum):
    """What a part of a front can report."""

    STATE_LOST = auto()  # Redis has lost publications, or this front's state
    GAP = auto()  # publications were missed for good
    RECONNECTED = auto()  # a connection to Redis was lost and made again


class Report(NamedTuple):
    """An incident in one channel, or in all ("")."""

    incident: Incident
    channel: str = ""


class StateReports:
    """A mailbox of reports; a report equal to a pending one is dropped."""

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
        """Drop a report that has been dealt with."""
        self._pending.pop(report, None)

    async def next(self) -> Report:
        """Wait for the oldest report, and remove it."""
        while not self._pending:
            self._has_some.clear()
            await self._has_some.wait()
        report = next(iter(self._pending))
        del self._pending[report]
        return report

    def _put(self, report: Report) -> None:
        self._pending[report] = None
        self._has_some.set()
