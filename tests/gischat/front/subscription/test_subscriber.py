"""Whether a front hears what is published, seen by the numbers alone. Time is virtual."""

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gischat.broker.entries import Publication
from gischat.broker.outbox import Entry
from gischat.front.subscription.subscriber import STREAM_START, Subscriber, SubscriberStalled
from gischat.front.transport.frames import PIECE_BYTES
from gischat.timings import Timings
from tests.gischat.front.fakes import CHANNEL, FakeBroker, publication, said
from tests.support.virtual_time import pass_time, settle, virtual_time


class Scene:
    """A front that has heard so many publications of one channel, and hears no more."""

    def __init__(self, heard: int) -> None:
        self._heard = heard
        self.reconnections = 0
        reader: Any = SimpleNamespace(reconnect=self._reconnect)
        nothing: Any = None
        self._subscriber = Subscriber(nothing, [reader], {}, nothing)

    def _reconnect(self) -> None:
        self.reconnections += 1

    async def see(self, *published: int) -> None:
        """Compares once a second with what Redis says."""
        for number in published:
            self._subscriber.check_lag({CHANNEL: self._heard}, {CHANNEL: number})
            await pass_time(1)


LONG = int(Timings().subscriber_stalled) + 2


@virtual_time
async def test_who_hears_nothing_of_what_is_published_connects_anew_and_then_gives_up() -> None:
    scene = Scene(heard=10)
    await scene.see(10, *[11] * LONG)
    assert scene.reconnections == 1
    with pytest.raises(SubscriberStalled):
        await scene.see(*[11] * LONG)


@virtual_time
async def test_who_hears_nothing_of_what_comes_after_a_loss_is_deaf_as_well() -> None:
    scene = Scene(heard=10)
    # When Redis has lost all, and what it publishes since is not heard, however little it is
    await scene.see(10, 0, *[3] * LONG)
    assert scene.reconnections == 1
    with pytest.raises(SubscriberStalled):
        await scene.see(*[3] * LONG)


@virtual_time
async def test_who_has_heard_more_than_redis_knows_is_not_deaf_while_nothing_is_published() -> None:
    """As when Redis has lost its last second, and no worker runs."""
    scene = Scene(heard=10)
    await scene.see(10, *[8] * 5 * LONG)
    assert scene.reconnections == 0


@virtual_time
async def test_time_in_which_redis_does_not_answer_does_not_count() -> None:
    scene = Scene(heard=10)
    await scene.see(10, 11)
    await pass_time(LONG)
    await scene.see(11)
    assert scene.reconnections == 0


class Outbox:
    """A reader whose answers the test gives; nothing shortens a read that waits."""

    channels = (CHANNEL,)

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, asyncio.Future[Any]]] = []

    async def read(self, positions: Mapping[str, bytes], wait: float | None = None) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.asked.append((positions[CHANNEL], answer))
        return await answer

    def reconnect(self) -> None: ...


@virtual_time
async def test_a_read_that_began_before_we_went_back_does_not_skip_what_comes_before_it() -> None:
    """Its connection is being made anew just then: it waits to be sent, with the old position."""
    entries = [Entry(b"%d-0" % number, publication(number, said(str(number)))) for number in range(1, 4)]
    broker: Any = FakeBroker()
    room: Any = SimpleNamespace(
        start_at=nothing, deliver=nothing, nicknames=SimpleNamespace(settle=nothing), caught_up_at=0.0
    )
    dispatcher: Any = SimpleNamespace(complete=nothing)
    outbox: Any = Outbox()
    subscriber = Subscriber(broker, [outbox], {CHANNEL: room}, dispatcher)
    broker.tail = answers((Entry(b"99-0", entries[0].publication), {}, 0.0))
    broker.last_entry, broker.newest_entry_ids = answers(entries[-1]), answers([entry.id for entry in entries])
    await subscriber.seek_to_tail()
    reading = asyncio.create_task(subscriber.run())
    await settle()
    await subscriber.rewind(CHANNEL)
    outbox.asked[0][1].set_result([(CHANNEL, [Entry(b"100-0", entries[0].publication)])])
    await settle()
    assert [position for position, _ in outbox.asked] == [b"99-0", STREAM_START]
    reading.cancel()


@pytest.mark.parametrize("goes_back_in", [0, 1, 2], ids=["never", "between", "after the last"])
@virtual_time
async def test_others_have_their_turn_between_large_messages_that_are_read_together(goes_back_in: int) -> None:
    large = said("x" * PIECE_BYTES)
    bodies = [said("1"), large, said("3"), large]
    entries = [Entry(b"%d-0" % number, publication(number, body)) for number, body in enumerate(bodies, 1)]
    happened: list[str] = []

    def deliver(publications: Sequence[Publication]) -> None:
        happened.append(" ".join(str(one.offset) for one in publications))
        asyncio.get_running_loop().call_soon(another)

    def another() -> None:
        happened.append("another's turn")
        if happened.count("another's turn") == goes_back_in:  # as `rewind` does
            subscriber._positions[CHANNEL] = STREAM_START

    room: Any = SimpleNamespace(
        start_at=nothing, deliver=deliver, nicknames=SimpleNamespace(settle=nothing), caught_up_at=0.0
    )
    outbox, dispatcher = cast(Any, Outbox()), cast(Any, SimpleNamespace(complete=nothing))
    subscriber = Subscriber(cast(Any, FakeBroker()), [outbox], {CHANNEL: room}, dispatcher)
    await subscriber.seek_to_tail()
    await pass_time(1)
    reading = asyncio.create_task(subscriber.run())
    await settle()
    outbox.asked[0][1].set_result([(CHANNEL, entries)])
    await settle()
    steps = ["1 2", "another's turn", "3 4", "another's turn"]
    assert happened == (steps[:2] if goes_back_in == 1 else steps)
    assert outbox.asked[1][0] == (STREAM_START if goes_back_in else entries[-1].id)
    assert bool(room.caught_up_at) == (not goes_back_in)
    reading.cancel()


def nothing(*_: object) -> None: ...


def answers(answer: Any) -> Any:
    async def ask(*_: object) -> Any:
        return answer

    return ask


@pytest.mark.parametrize(("newest", "skipped_to"), [(None, [12]), (b"10-0", [12]), (b"12-0", [])])
@virtual_time
async def test_what_is_not_in_the_outbox_any_more_is_not_waited_for(
    newest: bytes | None, skipped_to: list[int]
) -> None:
    # Given a front that has heard all up to a place
    broker, skipped = FakeBroker(), list[int]()
    room: Any = SimpleNamespace(start_at=lambda *_: None, skip_to=skipped.append)
    ten, twelve = (Entry(b"%d-0" % number, publication(number)) for number in (10, 12))
    broker.newest = ten
    subscriber = Subscriber(cast(Any, broker), [], {CHANNEL: room}, cast(Any, None))
    await subscriber.seek_to_tail()
    # When twelve were published, and the outbox has them, or not
    broker.newest = {None: None, ten.id: ten, twelve.id: twelve}[newest]
    await subscriber.skip_trimmed(CHANNEL, 12)
    # Then it goes on behind what is missing
    assert skipped == skipped_to
