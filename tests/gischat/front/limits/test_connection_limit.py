"""Connections are counted by address, and subtracted once when they end."""

import logging

import pytest

from gischat.front.limits import connection_limit as module
from gischat.front.limits.connection_limit import ConnectionLimiter
from gischat.front.limits.rejection_log import RejectionLog
from gischat.observability.metrics import CloseReason, RejectReason
from gischat.timings import Timings
from tests.support.settings import UNLIMITED, settings
from tests.support.virtual_time import pass_time, virtual_time

HERE, THERE = "192.0.2.7", "198.51.100.9"


def admission(**limits: int) -> ConnectionLimiter:
    return ConnectionLimiter(settings(**UNLIMITED | limits), RejectionLog())


@virtual_time
async def test_the_limit_of_an_address_does_not_affect_others(caplog: pytest.LogCaptureFixture) -> None:
    door = admission(max_connections_per_address=3)
    # Given as many connections as may be from one network of 64 bits
    for number in range(3):
        entry = door.acquire(f"fd00::{number}")
    with caplog.at_level(logging.WARNING):
        refused = door.check_connection("fd00::ffff")
    assert refused is not None
    assert (refused.status, refused.retry_after) == (429, 30)
    assert "reached by fd00::/64; if that is a proxy of yours, name it in TRUSTED_PROXIES" in caplog.text
    assert door.check_connection("fd00:0:0:1::1") is None
    # When one leaves, however often that is reported, there is room for one
    entry.release()
    entry.release()
    assert door.check_connection("fd00::1") is None
    door.acquire("fd00::1")
    assert door.check_connection("fd00::1") is not None
    assert door.connections == 3


@virtual_time
async def test_the_defaults_allow_a_conference_behind_one_address() -> None:
    door = ConnectionLimiter(settings(), RejectionLog())
    # Given a thousand QGIS at once, each of which requests rules, channels and users, and connects
    for _ in range(1000):
        assert [door.check_request(HERE) for _ in range(5)] == [None] * 5
        assert door.check_connection(HERE) is None
        door.acquire(HERE)


@virtual_time
async def test_requests_of_an_address_are_limited() -> None:
    door = admission(max_address_requests_per_minute=30)
    assert [door.check_request(HERE) for _ in range(30)] == [None] * 30
    refused = door.check_request(HERE)
    assert refused is not None
    assert (refused.status, refused.retry_after) == (429, 2)
    assert door.check_request(THERE) is None
    await pass_time(refused.retry_after)
    assert door.check_request(HERE) is None


@virtual_time
async def test_addresses_of_a_flood_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TRACKED_ADDRESSES", 100)
    door = admission(max_address_requests_per_minute=60)
    # Given a connected client, and a refused one
    entry = door.acquire(HERE)
    while door.check_request(THERE) is None:
        pass
    # When connections arrive from more and more addresses
    for number in range(1500):
        door.check_request(f"2001:db8:{number // 256:x}:{number % 256:x}::1")
        await pass_time(0.01)
    # Then only those of the last second are remembered, and addresses with state
    assert len(door._states) < 500
    entry.release()
    assert door.connections == 0
    assert not any(visitors.connections for visitors in door._states.values())


@virtual_time
async def test_a_flood_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    rejections = RejectionLog()
    with caplog.at_level(logging.WARNING):
        for number in range(1000):
            rejections.record(RejectReason.CONNECTIONS, "no room for %s", number)
        rejections.record(CloseReason.MEMORY, "something else")
        await pass_time(Timings().drops_quiet)
        rejections.record(RejectReason.CONNECTIONS, "no room for %s", "the last")
    assert rejections.counts == {RejectReason.CONNECTIONS: 1001, CloseReason.MEMORY: 1}
    assert [record.getMessage() for record in caplog.records] == [
        "connections: no room for 0",
        "memory: something else",
        "connections: no room for the last (999 more since the last such line)",
    ]
