"""Publications whose body a front has to fetch. Time is virtual."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from gischat.broker.entries import Outcome, Publication
from gischat.broker.outbox import Entry
from gischat.errors import Unavailable
from gischat.front.subscription.subscriber import Subscriber
from gischat.timings import Timings
from tests.gischat.front.fakes import CHANNEL, FakeBroker, publication, said
from tests.gischat.front.subscription.test_subscriber import answers, nothing
from tests.support.virtual_time import pass_time, virtual_time


class Bodies:
    """Large bodies, which come when the test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[bytes]] = []

    async def complete(self, channel: str, publication: Publication) -> Publication:
        self.asked.append(asyncio.get_running_loop().create_future())
        return replace(publication, body=await self.asked[-1])


class TwoChannels:
    """A front that follows two channels: in one, a publication with a large body, and a small one behind it."""

    channels = (CHANNEL, "other")

    def __init__(self) -> None:
        self.delivered = list[str]()
        self.skipped = list[int]()
        self.completed = list[Outcome]()
        self.published = {channel: list[Entry]() for channel in self.channels}
        broker: Any = FakeBroker()
        self.broker, self.bodies = broker, Bodies()
        broker.bodies = self.bodies
        dispatcher: Any = SimpleNamespace(complete=lambda publication: self.completed.append(publication.outcome))
        self.rooms: Any = {
            channel: SimpleNamespace(
                start_at=nothing,
                deliver=partial(self._deliver, channel),
                nicknames=SimpleNamespace(settle=nothing),
                skip_to=self.skipped.append,
                caught_up_at=0.0,
            )
            for channel in self.channels
        }
        self.subscriber = Subscriber(broker, [cast(Any, self)], self.rooms, dispatcher)
        large = replace(publication(1, said("large")), body=b"@name 1 3 {")
        self.published[CHANNEL] = [Entry(b"1-0", large), Entry(b"2-0", publication(2, said("behind")))]
        self.published["other"] = [Entry(b"1-0", publication(1, said("elsewhere")))]

    async def start(self) -> "asyncio.Task[None]":
        await self.subscriber.seek_to_tail()
        reading = asyncio.create_task(self.subscriber.run())
        await pass_time(1)
        return reading

    def _deliver(self, channel: str, publications: Sequence[Publication]) -> None:
        self.delivered += [f"{channel} {one.offset} {one.body[:3].decode()}" for one in publications]

    async def read(self, positions: Mapping[str, bytes], wait: float | None = None) -> Any:
        found = [
            (channel, newer)
            for channel, position in positions.items()
            if (newer := [entry for entry in self.published[channel] if entry.id > position])
        ]
        if not found:
            await pass_time(wait or Timings().outbox_read)
        return found

    def reconnect(self) -> None: ...


@virtual_time
async def test_a_large_body_holds_back_only_what_follows_it_in_its_channel() -> None:
    scene = TwoChannels()
    reading = await scene.start()
    assert scene.delivered == ['other 1 {"t']
    assert scene.rooms[CHANNEL].caught_up_at == 0 < scene.rooms["other"].caught_up_at
    # When the body comes, the rest follows at once
    scene.bodies.asked[0].set_result(b"{..")
    await pass_time(2 * Timings().outbox_read_aside)
    assert scene.delivered[1:] == [f"{CHANNEL} 1 {{..", f'{CHANNEL} 2 {{"t']
    assert len(scene.bodies.asked) == 1
    reading.cancel()


@virtual_time
async def test_a_missing_body_is_a_gap_and_its_job_has_ended() -> None:
    scene = TwoChannels()
    reading = await scene.start()
    scene.bodies.asked[0].set_result(b"")
    await pass_time(1)
    assert (scene.skipped, scene.completed) == ([1], [Outcome.PUBLISHED] * 3)
    assert scene.delivered[1:] == [f'{CHANNEL} 2 {{"t']
    reading.cancel()


@virtual_time
async def test_a_body_is_fetched_again_if_redis_does_not_answer() -> None:
    scene = TwoChannels()
    reading = await scene.start()
    scene.bodies.asked[0].set_exception(Unavailable(""))
    await pass_time(1)
    scene.bodies.asked[1].set_result(b"{..")
    await pass_time(1)
    assert scene.delivered[1:] == [f"{CHANNEL} 1 {{..", f'{CHANNEL} 2 {{"t']
    reading.cancel()


@virtual_time
async def test_what_redis_has_lost_is_not_delivered_when_its_body_comes() -> None:
    scene = TwoChannels()
    reading = await scene.start()
    # When Redis has lost it, and something else has come in its place
    scene.published[CHANNEL] = [scene.published[CHANNEL][1]]
    scene.broker.last_entry = answers(scene.published[CHANNEL][0])
    await scene.subscriber.rewind(CHANNEL)
    scene.bodies.asked[0].cancel()
    await pass_time(1)
    assert scene.delivered[1:] == [f'{CHANNEL} 2 {{"t']
    reading.cancel()
