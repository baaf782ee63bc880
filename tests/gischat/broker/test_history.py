"""What is stored, and what can be told those that come back."""

import pytest

from gischat.broker import history
from gischat.broker.entries import STATE_LOST
from gischat.protocol.messages import new_id
from tests.gischat.broker.wire import (
    AGE,
    ALIVE,
    CHANNEL,
    FORGETFUL,
    Start,
    Wire,
)
from tests.support.settings import settings
from worker.effects import (
    Acknowledge,
    Count,
    DeadLetter,
    Publish,
    Refuse,
)

pytestmark = pytest.mark.usefixtures("io_loop")


# The history


async def test_without_a_history_nothing_is_stored_or_shown(start: Start) -> None:
    wire = start(max_stored_messages=0)
    await wire.end(Publish(b"1"))
    assert await wire.history() == []
    assert await wire.redis.call("EXISTS", wire.key("history"), key=wire.key("history")) == 0
    assert (await wire.front.history.snapshot(CHANNEL)).offset == 1


@pytest.mark.parametrize("length", [0, 1, 2])
async def test_a_history_that_shall_be_shorter_is_shorter_at_once(start: Start, length: int) -> None:
    # Given a channel with a long history
    wire = start(max_stored_messages=5)
    for number in range(5):
        await wire.end(Publish(b"%d" % number))
    # When its instance is started again with a lower limit
    wire.settings = settings(instance_id=wire.settings.instance_id, channels=(CHANNEL,), max_stored_messages=length)
    assert (await wire.new_front("front-2").history.snapshot(CHANNEL)).history == [b"3", b"4"][2 - length :]


# What came after a message


async def retained(wire: Wire, *, up_to: int = 10**9, max_bytes: int = 2**20) -> list[bytes]:
    """The bodies that could be told who comes back."""
    found = await wire.front.history.retained(CHANNEL, up_to, max_bytes)
    assert all(entry.age < AGE for entry in found)
    return [entry.publication.body for entry in found if entry.publication.is_broadcast]


async def test_what_everyone_got_is_retained_in_its_order(wire: Wire) -> None:
    await wire.end(Publish(b'"text"'))
    for effect in (Refuse("No."), Acknowledge(), DeadLetter("It crashed."), Count(3)):
        await wire.end(effect)
    await wire.end(Publish(b'"cheat code"', stored=False))
    assert [body for body in await retained(wire) if b"nb_users" not in body] == [b'"text"', b'"cheat code"']
    assert await retained(wire, up_to=1) == [b'"text"']


@pytest.mark.parametrize("page", [1, 7, 1000])
async def test_what_is_retained_is_read_page_by_page(wire: Wire, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    for name in ("FIRST_PAGE", "PAGE_ENTRIES"):
        monkeypatch.setattr(history, name, page)
    for number in range(20):
        await wire.end(Publish(b"%02d" % number))
    assert await retained(wire) == [b"%02d" % number for number in range(20)]
    # No more is read than is kept, and that is whole
    newest = await retained(wire, max_bytes=10)
    assert newest == [b"%02d" % number for number in range(20)][-len(newest) :]
    assert len(newest) in (6, 7, 20)


async def test_what_stood_behind_a_message_before_redis_lost_something_counts_no_more(wire: Wire) -> None:
    """What it lost is said again by each front for itself: what stands behind a message is not all that came after."""
    await wire.end(Publish(b"0"))
    await wire.front.presence.renew_lease(CHANNEL, ALIVE, is_state_lost=True)
    await wire.end(Publish(b"1"))
    assert await retained(wire) == []
    # Every front hears of that before it
    assert [one.type for one in await wire.outbox()] == ["text", STATE_LOST, "text"]


async def test_what_is_too_old_is_not_retained(start: Start) -> None:
    """Though it is still there: what was withdrawn is not remembered longer than ids count."""
    wire = start(timings=FORGETFUL)
    await wire.end(Publish(b"0"), id=new_id())
    await wire.let_a_moment_pass()
    assert await retained(wire) == []
