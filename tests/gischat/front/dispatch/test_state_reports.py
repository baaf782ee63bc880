"""State reports are taken in order; a waiting report is not duplicated."""

import asyncio

from gischat.front.dispatch.state_reports import Incident, Report, StateReports
from tests.support.virtual_time import settle, virtual_time


@virtual_time
async def test_a_report_repeated_while_it_waits_is_taken_once_and_in_order() -> None:
    reports = StateReports()
    reports.gap("a")
    reports.state_lost("a")
    reports.gap("a")
    reports.reconnected()
    reports.discard(Report(Incident.STATE_LOST, "a"))
    assert [await reports.next() for _ in range(2)] == [Report(Incident.GAP, "a"), Report(Incident.RECONNECTED)]
    # A later report is taken again
    waiting = asyncio.create_task(reports.next())
    await settle()
    reports.gap("a")
    assert await waiting == Report(Incident.GAP, "a")
