"""The frequency of log lines while Redis is unavailable."""

import logging

import pytest

from gischat.broker.log_throttle import LogThrottle
from tests.support.virtual_time import pass_time, virtual_time


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@virtual_time
async def test_a_failure_is_logged_after_a_delay_and_then_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    # Given an operation that fails five times a second
    complaint = LogThrottle("front cannot connect")

    async def fail(seconds: float) -> None:
        for _ in range(round(seconds * 5)):
            complaint.report(OSError("refused"))
            await pass_time(0.2)

    # Then a short failure is not logged
    await fail(1.5)
    complaint.resolve()
    await fail(1.5)
    assert said(caplog) == []

    # But a long one is, with its reason, and rarely
    await fail(1)
    assert said(caplog) == ["front cannot connect: refused"]
    await fail(120)
    assert len(said(caplog)) == 3


@virtual_time
async def test_an_error_without_a_text_is_logged_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    complaint = LogThrottle("front cannot connect")
    complaint.report(TimeoutError())
    await pass_time(3)
    complaint.report(TimeoutError())
    assert said(caplog) == ["front cannot connect: TimeoutError"]
