"""The frequency of log lines while Redis is unavailable."""

import pytest

from gischat.broker.log_throttle import LogThrottle
from tests.support.virtual_time import pass_time, virtual_time

REFUSED = OSError("refused")


@virtual_time
async def test_a_failure_is_logged_after_a_delay_and_then_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    # Given an operation that fails five times a second
    complaint = LogThrottle("front cannot connect")

    async def fail(seconds: float, error: Exception = REFUSED) -> None:
        for _ in range(round(seconds * 5)):
            complaint.report(error)
            await pass_time(0.2)

    # Then a short failure is not logged
    await fail(1.5)
    complaint.resolve()
    await fail(1.5)
    assert caplog.messages == []
    # But a long one is, with its reason, and rarely
    await fail(1)
    assert caplog.messages == ["front cannot connect: refused"]
    await fail(120)
    assert len(caplog.messages) == 3
    # An error without a text has its name
    await fail(60, TimeoutError())
    assert caplog.messages[3:] == ["front cannot connect: TimeoutError"]
