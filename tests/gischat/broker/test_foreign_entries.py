"""Entries that somebody else has written into our streams are skipped, and readers advance behind them."""

import asyncio
import contextlib
import logging
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from gischat.bridges.cursor import OutboxCursor
from gischat.bridges.store import BridgeStore, Links
from gischat.broker import outbox
from gischat.broker.dead_letters import DeadLetters
from gischat.broker.keys import charges_key
from gischat.broker.live_stream import LiveStream
from gischat.broker.outbox import OutboxReader
from gischat.front.channel.fanout import Fanout
from gischat.front.channel.live_positions import LivePositions
from gischat.front.subscription.live_exchange import LiveExchange
from gischat.hooks.letters import HookLetters
from gischat.timings import Timings
from tests.gischat.broker.wire import CHANNEL, Wire, encoded
from tests.support.waiting import DEADLINE
from worker.effects import DeadLetter, Publish
from worker.fairness import Charge, Person
from worker.shared_charges import SharedCharges

pytestmark = pytest.mark.usefixtures("io_loop")


async def junk(wire: Wire, stream: str, *fields: str) -> bytes:
    id: bytes = await wire.redis.call("XADD", stream, "*", *(fields or ("junk", "x")), key=stream)
    return id


async def test_readers_of_an_outbox_pass_foreign_entries(
    wire: Wire, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "FOREIGN_PAGE", 2)
    key, own = wire.keys.outbox, wire.front.outbox
    first = await junk(wire, key)
    assert await own.last_entry(CHANNEL) is None
    texts = [encoded("text"), encoded("text")]
    for text in texts:
        await wire.end(Publish(text))
        await junk(wire, key, *"axbxcxdxexfxg1")  # as many fields as a publication has
    last = [await junk(wire, key) for _ in range(4)][-1]
    # A front that is there skips them, and is told where it is
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ((_, entries),) = await OutboxReader(wire.settings, [CHANNEL], wire.redis).read({CHANNEL: b"0-0"})
    assert [one.publication.body for one in entries if not one.publication.is_foreign] == texts
    assert entries[-1].id == last
    assert [message.endswith(f"{key} {first.decode()}") for message in caplog.messages] == [True]
    # One that starts begins behind them, with the right offset
    newest = await own.last_entry(CHANNEL)
    assert newest is not None
    assert (newest.id, newest.publication.offset) == (last, 2)
    assert (await own.tail(CHANNEL, 9)).newest == newest
    # What is retained has none of them
    found = await wire.front.history.retained(CHANNEL, 2, 1000)
    assert [one.publication.body for one in found] == texts


async def test_what_is_no_message_in_a_history_hinders_nobody(wire: Wire) -> None:
    history = wire.key("history")
    await wire.redis.call("RPUSH", history, "junk", '{"type":"text"}', '{"type":"text","id":"', key=history)
    assert (await wire.front.outbox.tail(CHANNEL, 9)).ids == {}
    # And moderators can delete it with the rest
    await wire.front.moderation.delete_messages(CHANNEL, [])
    assert await wire.history() == []


async def test_a_bridge_counts_nothing_as_missed_behind_a_foreign_entry(wire: Wire) -> None:
    cursor = OutboxCursor(CHANNEL, wire.front.outbox, BridgeStore(wire.settings.instance_id, "test", wire.redis))
    await cursor.load()
    for _ in range(3):
        await wire.end(Publish(b"{}"))
        await junk(wire, wire.keys.outbox)
        for entry in await cursor.read():
            assert cursor.missed_before(entry) == 0
            cursor.advance(entry)
    assert not await cursor.read()


async def test_other_streams_are_read_in_spite_of_foreign_entries(wire: Wire) -> None:
    # Dead letters
    await wire.end(DeadLetter("It crashed."), b"1")
    await junk(wire, wire.keys.dead)
    assert [letter.body for letter in await DeadLetters(wire.namespace, wire.redis).all()] == [b"1"]
    # … of hooks
    hooks = HookLetters(wire.settings, wire.redis, Timings())
    await hooks.add(CHANNEL, "http://there", "text", "No.", b"2")
    await junk(wire, wire.keys.bridge("hooks", "dead"))
    assert [letter.body for letter in await hooks.all()] == [b"2"]
    # Links of a bridge
    await junk(wire, wire.keys.bridge("test", "links"))
    await Links(wire.redis, wire.keys.bridge("test", "links")).load()
    # The work of heavy workers
    one, other = (SharedCharges(wire.settings, wire.redis) for _ in range(2))
    for seconds in ("x", "inf"):
        await junk(wire, charges_key(wire.settings.instance_id), "w", "w", "a", "a", "c", "c", "s", seconds)
    one.write(charge := Charge(Person("", "front/1"), 1.5))
    assert [told for _, told in await other.read()] == [charge]


@pytest.mark.parametrize("body", [b'[["\xff",1,{}]]', b'[["a",1,' + b"[" * 5000])
async def test_a_foreign_body_does_not_end_the_reading_of_live_positions(wire: Wire, body: bytes) -> None:
    received = asyncio.Event()
    live = LivePositions(Fanout())
    rooms: Any = {CHANNEL: SimpleNamespace(live=live)}
    reading: Any = [([CHANNEL], lambda: contextlib.nullcontext(wire.redis))]
    exchange = LiveExchange("front-1", rooms, wire.namespace, wire.redis, reading)
    live.subscribe(Mock(is_ready=True, write=lambda _: received.set()))
    stream = LiveStream(wire.namespace, wire.redis)
    await stream.publish(CHANNEL, "somebody", body)
    await stream.publish(CHANNEL, "front-2", b'[["jane",60,{}]]')
    follower = asyncio.create_task(exchange.run())
    following = asyncio.create_task(received.wait())
    await asyncio.wait([follower, following], timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
    assert following.done()
    follower.cancel()
    await asyncio.wait([follower])
