"""The subscriber: publications reach their rooms in order, and a front that receives none notices. Time is virtual."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from gischat.broker.entries import Outcome, Publication
from gischat.broker.outbox import Entry
from gischat.errors import Unavailable
from gischat.front.subscription.subscriber import STREAM_START, Subscriber, SubscriberStalled
from gischat.front.transport.frames import PIECE_BYTES
from gischat.timings import Timings
from tests.gischat.front.fakes import CHANNEL, FakeBroker, publication, said
from tests.support.virtual_time import pass_time, settle, virtual_time

LONG = int(Timings().subscriber_stalled) + 2  # seconds


def nothing(*_: object) -> None: ...


def answers(answer: Any) -> Any:
    async def ask(*_: object) -> Any:
        return answer

    return ask


class Scene:
    """A subscriber with a reader, and rooms that record what they are to deliver."""

    channels: Sequence[str] = (CHANNEL,)

    def __init__(self, reader: Any = None) -> None:
        self.delivered: list[str] = []
        self.completed: list[Outcome] = []
        self.broker: Any = FakeBroker()
        self.rooms: Any = {
            channel: SimpleNamespace(
                start_at=nothing,
                deliver=partial(self._deliver, channel),
                nicknames=SimpleNamespace(settle=nothing),
                skip_to=lambda offset: self.delivered.append(f"skipped to {offset}"),
                caught_up_at=0.0,
            )
            for channel in self.channels
        }
        dispatcher: Any = SimpleNamespace(complete=lambda publication: self.completed.append(publication.outcome))
        self.subscriber = Subscriber(self.broker, [reader], self.rooms, dispatcher)

    def _deliver(self, channel: str, publications: Sequence[Publication]) -> None:
        self.delivered += [f"{channel} {one.offset} {one.body[:3].decode()}" for one in publications]

    async def start(self) -> "asyncio.Task[None]":
        """Read from the end of the outboxes."""
        await self.subscriber.seek_to_tail()
        await pass_time(1)
        reading = asyncio.create_task(self.subscriber.run())
        await pass_time(1)
        return reading


# Whether a front receives what is published, by the numbers alone


@pytest.mark.parametrize(
    ("published", "reconnections"),
    [
        ([11] * LONG, 1),
        # Redis has lost all, and what it publishes since is not received, however little it is
        ([0] + [3] * LONG, 1),
        # Redis has lost its last second, and no worker runs
        ([8] * 5 * LONG, 0),
    ],
    ids=["not received", "not received after a loss", "nothing published after a loss"],
)
@virtual_time
async def test_a_front_that_receives_nothing_of_what_is_published_reconnects_and_then_ends(
    published: list[int], reconnections: int
) -> None:
    reconnected: list[None] = []
    reader: Any = SimpleNamespace(reconnect=lambda: reconnected.append(None))
    scene = Scene(reader)

    async def see(*published: int) -> None:
        for number in published:
            scene.subscriber.check_lag({CHANNEL: 10}, {CHANNEL: number})
            await pass_time(1)

    await see(10, *published)
    assert len(reconnected) == reconnections
    if reconnections:
        with pytest.raises(SubscriberStalled):
            await see(*published[-LONG:])


@virtual_time
async def test_time_in_which_redis_does_not_answer_does_not_count() -> None:
    scene = Scene()
    for published in (10, 11, 11):
        scene.subscriber.check_lag({CHANNEL: 10}, {CHANNEL: published})
        await pass_time(LONG)


# Reading


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
    scene = Scene(outbox := Outbox())
    scene.broker.tail = answers((Entry(b"99-0", entries[0].publication), {}, 0.0))
    scene.broker.last_entry = answers(entries[-1])
    scene.broker.newest_entry_ids = answers([entry.id for entry in entries])
    reading = await scene.start()
    await scene.subscriber.rewind(CHANNEL)
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
            scene.subscriber._positions[CHANNEL] = STREAM_START

    scene = Scene(outbox := Outbox())
    scene.rooms[CHANNEL].deliver = deliver
    reading = await scene.start()
    outbox.asked[0][1].set_result([(CHANNEL, entries)])
    await settle()
    steps = ["1 2", "another's turn", "3 4", "another's turn"]
    assert happened == (steps[:2] if goes_back_in == 1 else steps)
    assert outbox.asked[1][0] == (STREAM_START if goes_back_in else entries[-1].id)
    assert bool(scene.rooms[CHANNEL].caught_up_at) == (not goes_back_in)
    reading.cancel()


@pytest.mark.parametrize(("newest", "skipped"), [(None, True), (b"10-0", True), (b"12-0", False)])
@virtual_time
async def test_what_is_not_in_the_outbox_any_more_is_not_waited_for(newest: bytes | None, skipped: bool) -> None:
    # Given a front that has received all up to a place
    scene = Scene()
    ten, twelve = (Entry(b"%d-0" % number, publication(number)) for number in (10, 12))
    scene.broker.newest = ten
    await scene.subscriber.seek_to_tail()
    # When twelve were published, and the outbox has them, or not
    scene.broker.newest = {None: None, ten.id: ten, twelve.id: twelve}[newest]
    await scene.subscriber.skip_trimmed(CHANNEL, 12)
    # Then it goes on behind what is missing
    assert scene.delivered == ["skipped to 12"] * skipped


# Publications whose body a front has to fetch


class Large(Scene):
    """A front that follows two channels: in one, a publication with a large body, and a small one behind it."""

    channels = (CHANNEL, "other")

    def __init__(self) -> None:
        super().__init__(self)
        self.broker.bodies = self
        self.fetches: list[asyncio.Future[bytes]] = []
        large = replace(publication(1, said("large")), body=b"@name 1 3 {")
        self.published = {
            CHANNEL: [Entry(b"1-0", large), Entry(b"2-0", publication(2, said("behind")))],
            "other": [Entry(b"1-0", publication(1, said("elsewhere")))],
        }

    async def complete(self, channel: str, publication: Publication) -> Publication:
        self.fetches.append(asyncio.get_running_loop().create_future())
        return replace(publication, body=await self.fetches[-1])

    async def read(self, positions: Mapping[str, bytes], wait: float | None = None) -> list[tuple[str, list[Entry]]]:
        found = [
            (channel, newer)
            for channel, position in positions.items()
            if (newer := [entry for entry in self.published[channel] if entry.id > position])
        ]
        if not found:
            await pass_time(wait or Timings().outbox_read)
        return found

    def reconnect(self) -> None: ...


@pytest.mark.parametrize("is_away", [False, True])
@virtual_time
async def test_a_large_body_holds_back_only_what_follows_it_in_its_channel(is_away: bool) -> None:
    scene = Large()
    reading = await scene.start()
    assert scene.delivered == ['other 1 {"t']
    assert scene.rooms[CHANNEL].caught_up_at == 0 < scene.rooms["other"].caught_up_at
    # When the body comes, maybe after Redis did not answer, the rest follows at once
    if is_away:
        scene.fetches[0].set_exception(Unavailable(""))
        await pass_time(1)
    scene.fetches[-1].set_result(b"{..")
    await pass_time(2 * Timings().outbox_read_aside)
    assert scene.delivered[1:] == [f"{CHANNEL} 1 {{..", f'{CHANNEL} 2 {{"t']
    assert len(scene.fetches) == 1 + is_away
    reading.cancel()


@virtual_time
async def test_a_missing_body_is_a_gap_and_its_job_has_ended() -> None:
    scene = Large()
    reading = await scene.start()
    scene.fetches[0].set_result(b"")
    await pass_time(1)
    assert scene.completed == [Outcome.PUBLISHED] * 3
    assert scene.delivered[1:] == ["skipped to 1", f'{CHANNEL} 2 {{"t']
    reading.cancel()
