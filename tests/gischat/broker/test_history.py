"""The stored history, and the publications retained for clients that reconnect."""

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
async def test_a_lower_limit_shortens_the_history_at_once(start: Start, length: int) -> None:
    # Given a channel with a long history
    wire = start(max_stored_messages=5)
    for number in range(5):
        await wire.end(Publish(b"%d" % number))
    # When its instance is restarted with a lower limit
    wire.settings = settings(instance_id=wire.settings.instance_id, channels=(CHANNEL,), max_stored_messages=length)
    assert (await wire.new_front("front-2").history.snapshot(CHANNEL)).history == [b"3", b"4"][2 - length :]


# Publications after a message


async def retained(wire: Wire, *, up_to: int = 10**9, max_bytes: int = 2**20) -> list[bytes]:
    """The bodies that a client that reconnects could receive."""
    found = await wire.front.history.retained(CHANNEL, up_to, max_bytes)
    assert all(entry.age < AGE for entry in found)
    return [entry.publication.body for entry in found if entry.publication.is_broadcast]


async def test_broadcast_publications_are_retained_in_order(wire: Wire) -> None:
    await wire.end(Publish(b'"text"'))
    for effect in (Refuse("No."), Acknowledge(), DeadLetter("It crashed."), Count(3)):
        await wire.end(effect)
    await wire.end(Publish(b'"cheat code"', stored=False))
    assert [body for body in await retained(wire) if b"nb_users" not in body] == [b'"text"', b'"cheat code"']
    assert await retained(wire, up_to=1) == [b'"text"']


@pytest.mark.parametrize("page", [1, 7, 1000])
async def test_retained_publications_are_read_in_pages(wire: Wire, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    for name in ("FIRST_PAGE", "PAGE_ENTRIES"):
        monkeypatch.setattr(history, name, page)
    for number in range(20):
        await wire.end(Publish(b"%02d" % number))
    assert await retained(wire) == [b"%02d" % number for number in range(20)]
    # Only as much is read as is kept, and without gaps
    newest = await retained(wire, max_bytes=10)
    assert newest == [b"%02d" % number for number in range(20)][-len(newest) :]
    assert len(newest) in (6, 7, 20)


async def test_publications_before_a_loss_are_not_retained(wire: Wire) -> None:
    """Each front replays its own messages, so the outbox after a message may lack others that followed it."""
    await wire.end(Publish(b"0"))
    await wire.front.presence.renew_lease(CHANNEL, ALIVE, is_state_lost=True)
    await wire.end(Publish(b"1"))
    assert await retained(wire) == []
    # Every front is notified of the loss first
    assert [one.type for one in await wire.outbox()] == ["text", STATE_LOST, "text"]


async def test_old_publications_are_not_retained(start: Start) -> None:
    """They may be in the outbox, but deletions are only remembered as long as ids."""
    wire = start(timings=FORGETFUL)
    await wire.end(Publish(b"0"), id=new_id())
    await wire.let_a_moment_pass()
    assert await retained(wire) == []
