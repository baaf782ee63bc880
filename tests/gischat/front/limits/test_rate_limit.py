"""Rate limits: messages per minute, also as a burst; beyond it, the refusal says how long to wait."""

import pytest

from gischat.errors import RefusalReason
from gischat.front.limits.rate_limit import (
    PAUSE_SECONDS,
    REFUSALS_PER_MINUTE,
    UNIT_BYTES,
    AddressState,
    ConnectionRateLimiter,
    RateLimitExceeded,
    RateLimits,
)
from tests.support.settings import UNLIMITED, settings
from tests.support.virtual_time import pass_time, virtual_time


def pace(visitors: AddressState | None = None, **limits: int) -> ConnectionRateLimiter:
    return ConnectionRateLimiter(visitors or someone(**limits))


def someone(**limits: int) -> AddressState:
    return AddressState("192.0.2.7", RateLimits(settings(**UNLIMITED | limits)))


def spoken(pace: ConnectionRateLimiter, times: int = 10_000, size: int = 100) -> int:
    """The number of messages accepted at once, at most `times`."""
    for number in range(times):
        try:
            pace.acquire_message(size)
        except RateLimitExceeded:
            return number
    return times


@pytest.mark.parametrize("limit", [1, 60])
@virtual_time
async def test_a_burst_of_a_minutes_worth_is_accepted_and_then_one_by_one(limit: int) -> None:
    speaker = pace(max_messages_per_minute=limit)
    await pass_time(1000)
    # When all messages of a minute are sent
    assert spoken(speaker) == limit
    # Then one more is accepted after its share of the minute, and not before
    await pass_time(60 / limit * 0.9)
    assert spoken(speaker) == 0
    await pass_time(60 / limit * 0.2)
    assert spoken(speaker) == 1
    # And after a minute of silence the same burst, but never more
    await pass_time(60)
    assert spoken(speaker) == limit
    await pass_time(3600)
    assert spoken(speaker) == limit


@virtual_time
async def test_a_refusal_gives_the_time_to_wait() -> None:
    speaker = pace(max_messages_per_minute=6)
    assert spoken(speaker) == 6
    with pytest.raises(RateLimitExceeded) as told:
        speaker.acquire_message(1)
    assert (told.value.cause, told.value.seconds) == (RefusalReason.RATE_LIMIT, 10)
    assert told.value.reason == "You are sending too fast: this message was not sent. Please wait 10 seconds."
    await pass_time(told.value.seconds)
    speaker.acquire_message(1)


@virtual_time
async def test_a_large_frame_counts_as_several_and_is_not_refused_for_its_size() -> None:
    speaker = pace(max_messages_per_minute=12)
    # Given a frame that costs more than a minute's messages
    speaker.acquire_message(20 * UNIT_BYTES)
    # Then the next one waits for the excess: 21 are 105 seconds
    assert spoken(speaker) == 0
    await pass_time(104 - 60)
    assert spoken(speaker) == 0
    await pass_time(6)
    assert spoken(speaker) == 1


@virtual_time
async def test_the_connections_of_an_address_share_one_limit() -> None:
    # Given an address limit below the limits of two connections
    here, there = someone(max_address_messages_per_minute=15, max_messages_per_minute=10), someone()
    one, other = pace(here), pace(here)
    assert spoken(one) == 10
    assert spoken(other) == 5
    with pytest.raises(RateLimitExceeded, match="network address") as told:
        other.acquire_message(1)
    assert told.value.cause is RefusalReason.ADDRESS_RATE_LIMIT
    # Then a new connection shares the used limit, and one from elsewhere does not
    assert spoken(pace(here)) == 0
    assert spoken(pace(there)) == 10_000
    # And messages refused by the address limit were not charged to the connection
    await pass_time(60)
    assert spoken(other) == 10


@virtual_time
async def test_only_a_client_that_exceeds_its_limit_again_and_again_is_to_be_closed() -> None:
    speaker = pace()
    refused = [speaker.limit_exceeded_repeatedly() for _ in range(REFUSALS_PER_MINUTE + 1)]
    assert refused == [False] * REFUSALS_PER_MINUTE + [True]
    await pass_time(60)
    for _ in range(1000):
        assert not speaker.limit_exceeded_repeatedly()
        await pass_time(60 / REFUSALS_PER_MINUTE)


@virtual_time
async def test_only_an_address_with_too_many_refusals_is_read_more_slowly() -> None:
    here, there = someone(), someone()
    # Given thousands of connections from one address, whose messages are refused
    many = [pace(here) for _ in range(3000)]
    assert [one.record_refusal() for one in many] == [0.0] * len(many)
    assert [one.record_refusal() for one in many] == [0.0] * len(many)
    # Then each is not read for a second after its next refusal, and new connections are treated the same
    assert [one.record_refusal() for one in many] == [PAUSE_SECONDS] * len(many)
    assert pace(here).record_refusal() == PAUSE_SECONDS
    assert pace(there).record_refusal() == 0.0
    # And a minute later everything is forgotten, however many refusals there were
    assert not here.is_idle(here.limits.now())
    await pass_time(60)
    assert here.is_idle(here.limits.now())
    assert many[0].record_refusal() == 0.0


@virtual_time
async def test_a_request_may_count_as_less_than_one() -> None:
    here = someone(max_address_requests_per_minute=60)
    assert [here.allow_request(0.1) <= 0 for _ in range(591)] == [True] * 591
    assert here.allow_request() > 0
    await pass_time(0.1)
    assert here.allow_request(0.1) <= 0


@virtual_time
async def test_addresses_without_state_are_forgotten() -> None:
    here = someone(max_address_requests_per_minute=60, max_address_messages_per_minute=60)
    now = here.limits.now
    assert here.is_idle(now())
    here.allow_request()
    assert not here.is_idle(now())
    await pass_time(1.1)
    assert here.is_idle(now())
    here.acquire_message(1, now())
    assert not here.is_idle(now())
    await pass_time(1.1)
    here.connections += 1
    assert not here.is_idle(now())


def test_a_wait_is_given_in_whole_seconds_as_text() -> None:
    assert RateLimitExceeded(RefusalReason.RATE_LIMIT, "No.", 0.01).reason == "No. Please wait 1 second."
    assert RateLimitExceeded(RefusalReason.RATE_LIMIT, "No.", 1.01).reason == "No. Please wait 2 seconds."
