"""The moderators' token, and guesses of it."""

import asyncio
from types import SimpleNamespace

import pytest

from gischat.front.auth import failed_attempts
from gischat.front.auth.admin_auth import MAX_DELAYED_REJECTIONS, AdminAuth
from gischat.front.auth.failed_attempts import MAX_FAILURES, FailedAttempts
from gischat.timings import Timings

TOKEN = "0123456789abcdef"
HASTY = Timings(wrong_token=0.0)

pytestmark = pytest.mark.usefixtures("io_loop")


async def test_an_address_that_guesses_is_delayed_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(failed_attempts, "time", SimpleNamespace(monotonic=lambda: now))
    door = AdminAuth(TOKEN, HASTY)
    # Given as many failures as are allowed, from one network
    for number in range(MAX_FAILURES - 1):
        await door.record_failure(f"2001:db8::{number}")
    assert door.retry_after("2001:db8::1") == 0
    await door.record_failure("2001:db8::1")
    assert 0 < door.retry_after("2001:db8::ffff") <= 61
    assert door.retry_after("2001:db8:0:1::1") == 0
    # When its time is over, it is treated like others
    now += HASTY.wrong_tokens + 1
    assert door.retry_after("2001:db8::1") == 0
    await door.record_failure("2001:db8::1")
    assert door.retry_after("2001:db8::1") == 0


async def test_the_number_of_remembered_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_attempts, "MAX_TRACKED_ADDRESSES", 3)
    attempts = FailedAttempts(60.0)
    for number in range(10):
        attempts.record(f"203.0.113.{number}")
    assert len(attempts._failures) == 3


async def test_the_number_of_delayed_requests_is_bounded() -> None:
    door = AdminAuth(TOKEN, Timings(wrong_token=1000.0))
    waiting = [
        asyncio.create_task(door.record_failure(f"203.0.113.{number}")) for number in range(MAX_DELAYED_REJECTIONS + 5)
    ]
    await asyncio.sleep(0)  # each task runs once
    pending = [task for task in waiting if not task.done()]
    assert len(pending) == MAX_DELAYED_REJECTIONS
    for task in pending:
        task.cancel()
    await asyncio.wait(pending)
    # A cancelled request makes room
    assert door._delayed == 0
