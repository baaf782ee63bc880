"""The token, and who guesses it."""

import asyncio
from types import SimpleNamespace

import pytest

from gischat.front.door import doorkeeper
from gischat.front.door.doorkeeper import WRONG_AT_ONCE, WRONG_TOKENS, Doorkeeper
from gischat.timings import Timings

TOKEN = "0123456789abcdef"
HASTY = Timings(wrong_token=0.0)

pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN} "])
async def test_the_token_is_admitted(header: str) -> None:
    assert Doorkeeper(TOKEN).admits({"Authorization": header})


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}0", "Bearer \udce9"]
)
async def test_anything_else_is_not(header: str) -> None:
    assert not Doorkeeper(TOKEN).admits({"Authorization": header})


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer "])
async def test_without_a_token_nobody_is_admitted(header: str) -> None:
    assert not Doorkeeper("").admits({"Authorization": header})


async def test_an_address_that_guesses_has_to_wait_and_others_have_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(doorkeeper, "time", SimpleNamespace(monotonic=lambda: now))
    door = Doorkeeper(TOKEN, HASTY)
    for _ in range(WRONG_TOKENS - 1):
        await door.turn_away("203.0.113.7")
    assert door.seconds_to_wait("203.0.113.7") == 0
    await door.turn_away("203.0.113.7")
    assert 0 < door.seconds_to_wait("203.0.113.7") <= 61
    assert door.seconds_to_wait("203.0.113.8") == 0
    # Until its time is over, and then it is as anybody
    now += HASTY.wrong_tokens + 1
    assert door.seconds_to_wait("203.0.113.7") == 0
    await door.turn_away("203.0.113.7")
    assert door.seconds_to_wait("203.0.113.7") == 0


async def test_all_addresses_of_a_customer_count_as_one() -> None:
    door = Doorkeeper(TOKEN, HASTY)
    for number in range(WRONG_TOKENS):
        await door.turn_away(f"2001:db8::{number}")
    assert door.seconds_to_wait("2001:db8::ffff")
    assert not door.seconds_to_wait("2001:db8:0:1::1")


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorkeeper, "ADDRESSES", 3)
    door = Doorkeeper(TOKEN, HASTY)
    for number in range(10):
        await door.turn_away(f"203.0.113.{number}")
    assert len(door._attempts) == 3


async def test_only_so_many_are_kept_waiting() -> None:
    door = Doorkeeper(TOKEN, Timings(wrong_token=1000.0))
    waiting = [asyncio.create_task(door.turn_away(f"203.0.113.{number}")) for number in range(WRONG_AT_ONCE + 5)]
    await asyncio.sleep(0)  # each has its turn
    pending = [task for task in waiting if not task.done()]
    assert len(pending) == WRONG_AT_ONCE
    for task in pending:
        task.cancel()
    await asyncio.wait(pending)
    # Who gives up makes room
    assert door._waiting == 0
