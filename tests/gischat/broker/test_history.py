"""The stored history, and the publications retained for clients that reconnect."""

import pytest

from gischat.broker import history
from gischat.broker.entries import STATE_LOST
from gischat.protocol.messages import new_id
from tests.gischat.broker.wire import CHANNEL, FORGETFUL, Start, Wire
from worker.effects import Acknowledge, Count, DeadLetter, Publish, Refuse

pytestmark = pytest.mark.usefixtures("io_loop")


async def publish(wire: Wire, number: int) -> list[bytes]:
    """Publish texts of two bytes; returns them."""
    texts = [b"%02d" % one for one in range(number)]
    for text in texts:
        await wire.end(Publish(text))
    return texts


async def test_without_a_history_nothing_is_stored_or_shown(start: Start) -> None:
    wire = start(max_stored_messages=0)
    await publish(wire, 1)
    assert await wire.redis.call("EXISTS", wire.key("history"), key=wire.key("history")) == 0
    snapshot = await wire.front.history.snapshot(CHANNEL)
    assert (snapshot.offset, snapshot.history) == (1, [])


@pytest.mark.parametrize("length", [0, 2])
async def test_a_lower_limit_shortens_the_history_at_once(start: Start, length: int) -> None:
    wire = start(max_stored_messages=5)
    texts = await publish(wire, 5)
    # When its instance is restarted with a lower limit
    again = start(instance_id=wire.settings.instance_id, max_stored_messages=length)
    assert await again.history() == texts[5 - length :]


# Publications after a message


async def retained(wire: Wire, *, up_to: int = 10**9, max_bytes: int = 2**20) -> list[bytes]:
    """The bodies that a client that reconnects could receive."""
    found = await wire.front.history.retained(CHANNEL, up_to, max_bytes)
    assert all(entry.age < 60 for entry in found)
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
    texts = await publish(wire, 20)
    assert await retained(wire) == texts
    # Only as much is read as is kept, and without gaps
    newest = await retained(wire, max_bytes=10)
    assert newest == texts[-len(newest) :]
    assert len(newest) in (6, 7, 20)


async def test_publications_before_a_loss_are_not_retained(wire: Wire) -> None:
    """Each front replays its own messages, so the outbox after a message may lack others that followed it."""
    await publish(wire, 1)
    await wire.front.presence.renew_lease(CHANNEL, 60, is_state_lost=True)
    await publish(wire, 1)
    assert await retained(wire) == []
    # Every front is notified of the loss first
    assert [one.type for one in await wire.outbox()] == ["text", STATE_LOST, "text"]


async def test_old_publications_are_not_retained(start: Start) -> None:
    """They may be in the outbox, but deletions are only remembered as long as ids."""
    wire = start(timings=FORGETFUL)
    await wire.end(Publish(b"0"), id=new_id())
    await wire.let_a_moment_pass()
    assert await retained(wire) == []
