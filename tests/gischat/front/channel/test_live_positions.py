"""Live positions: the newest of each sender, for clients that requested them. Time is virtual: no test waits."""

import asyncio
from typing import Any

import msgspec

from gischat.errors import Unavailable
from gischat.front.channel.fanout import Fanout
from gischat.front.channel.live_positions import MAX_ENDED, LivePositions
from gischat.protocol.messages import Message, folded
from gischat.protocol.parsing import MessageParser
from gischat.timings import Timings
from tests.gischat.front.fakes import frames_in
from tests.support.contract import check, sample
from tests.support.settings import settings
from tests.support.virtual_time import pass_time, settle, virtual_time

READER = MessageParser(settings())
TIMINGS = Timings()
A_QUARTER = 900


class Sharer:
    def __init__(self, id: int = 1, nickname: str = "jane") -> None:
        self.id, self.nickname = id, nickname

    def is_registered_as(self, nickname: str) -> bool:
        return folded(self.nickname) == folded(nickname)


class Subscriber:
    """A client that reads positions."""

    def __init__(self) -> None:
        self.is_ready = True
        self.writes: list[list[dict[str, Any]]] = []

    def write(self, data: bytes) -> None:
        messages = [msgspec.json.decode(frame.data) for frame in frames_in(data)]
        for message in messages:
            check(message)
        self.writes.append(messages)

    @property
    def seen(self) -> list[tuple[str, float, bool]]:
        """The author, x and validity of all received positions."""
        return [(m["author"], m["x"], m["until"] > m["timestamp"]) for write in self.writes for m in write]


class Fronts:
    """Fronts that exchange live positions."""

    def __init__(self, number: int = 2) -> None:
        self.is_away = False
        self.told: list[bytes] = []
        self.live = [LivePositions(Fanout(), TIMINGS) for _ in range(number)]
        for index, live in enumerate(self.live):
            live.publish = lambda body, front=f"front-{index}": self._publish(front, body)

    async def _publish(self, front: str, body: bytes) -> None:
        if self.is_away:
            raise Unavailable("away")
        self.told.append(body)
        for live in self.live:
            if live.subscribers:
                live.receive(front, body)


def position(x: float = 1.5, *, seconds: int = A_QUARTER, author: str = "jane", clock: int = 1_700_000_000) -> Message:
    said = sample("live_position", author=author, x=x, timestamp=clock, until=clock + seconds)
    return READER.parse(msgspec.json.encode(said).decode())


@virtual_time
async def test_the_newest_is_sent_at_once_and_then_once_a_second() -> None:
    fronts, here, there = Fronts(), Subscriber(), Subscriber()
    fronts.live[0].subscribe(here)
    fronts.live[1].subscribe(there)
    for x in range(30):
        fronts.live[0].share(Sharer(), position(x))
        await pass_time(0.1)
    await pass_time(2)
    assert here.seen == there.seen
    assert [x for _, x, _ in here.seen] == sorted({x for _, x, _ in here.seen})
    assert here.seen[0] == ("jane", 0, True)
    assert here.seen[-1] == ("jane", 29, True)
    assert len(here.seen) <= 5
    assert len(fronts.told) <= 5


@virtual_time
async def test_a_new_front_receives_all_soon() -> None:
    fronts, one = Fronts(), Subscriber()
    fronts.live[0].share(Sharer(), position())
    await pass_time(5)
    fronts.live[1].subscribe(one)
    assert one.seen == []
    await pass_time(TIMINGS.live_renewal)
    assert one.seen == [("jane", 1.5, True)]
    await pass_time(3 * TIMINGS.live_renewal)
    assert len(one.seen) == 1  # a repetition is not sent again


@virtual_time
async def test_a_position_ends_with_its_nickname() -> None:
    fronts, one, jane = Fronts(), Subscriber(), Sharer()
    fronts.live[1].subscribe(one)
    fronts.live[0].share(jane, position(author="JANE"))
    await pass_time(2)
    # When she has another one, then it ends soon, and it is not published any more
    jane.nickname = "jim"
    await pass_time(TIMINGS.live_renewal + 1)
    assert one.seen == [("jane", 1.5, True), ("jane", 1.5, False)]
    told = len(fronts.told)
    await pass_time(5 * TIMINGS.live_renewal)
    assert (len(fronts.live[0]), len(fronts.told)) == (0, told)
    # When she shares under it, and then under a third, then it ends at once
    fronts.live[0].share(jane, position(author="jim"))
    await pass_time(2)
    jane.nickname = "joan"
    fronts.live[0].share(jane, position(author="joan"))
    await pass_time(2)
    assert sorted(one.seen[2:]) == [("jim", 1.5, False), ("jim", 1.5, True), ("joan", 1.5, True)]
    # And when her connection ends
    fronts.live[0].stop(jane.id)
    await pass_time(2 * TIMINGS.live_renewal)
    assert one.seen[-1] == ("joan", 1.5, False)


@virtual_time
async def test_a_position_ends_at_its_time() -> None:
    fronts, one, later = Fronts(), Subscriber(), Subscriber()
    fronts.live[1].subscribe(one)
    fronts.live[0].share(Sharer(), position(seconds=60))
    await pass_time(61 + TIMINGS.live_renewal)
    fronts.live[1].expire()
    fronts.live[1].subscribe(later)
    await settle()
    assert [holds for _, _, holds in one.seen] == [True, False]
    assert (later.seen[:-1], len(fronts.live[0])) == ([], 0)


@virtual_time
async def test_those_of_a_dead_front_end_within_a_minute() -> None:
    fronts, one = Fronts(), Subscriber()
    fronts.live[1].subscribe(one)
    fronts.live[1].receive("gone", msgspec.json.encode([("jane", 900.0, msgspec.Raw(position().body))]))
    await pass_time(TIMINGS.live_lost - 1)
    fronts.live[1].expire()
    await settle()
    assert len(one.seen) == 1
    await pass_time(2)
    fronts.live[1].expire()
    await settle()
    assert one.seen[-1] == ("jane", 1.5, False)


@virtual_time
async def test_a_late_end_does_not_end_the_position_of_the_nicknames_new_holder() -> None:
    fronts, one = Fronts(), Subscriber()
    fronts.live[1].subscribe(one)
    for front, left in (("first", 9.0), ("second", 9.0), ("first", 0.0)):
        fronts.live[1].receive(front, msgspec.json.encode([("jane", left, msgspec.Raw(position().body))]))
        await pass_time(2)
    assert all(holds for _, _, holds in one.seen)


@virtual_time
async def test_a_client_that_does_not_read_gets_the_newest_of_all_when_it_does() -> None:
    fronts, slow = Fronts(1), Subscriber()
    fronts.live[0].subscribe(slow)
    for number, name in enumerate(["john", "jim"]):
        fronts.live[0].share(Sharer(number, name), position(7, author=name))
    await pass_time(2)
    assert sorted(slow.seen) == [("jim", 7, True), ("john", 7, True)]
    # While it does not read, one changes often, and one ends, after which nothing changes any more
    slow.is_ready = False
    for x in range(20):
        fronts.live[0].share(Sharer(2), position(x))
        await pass_time(1)
    fronts.live[0].stop(1)
    await pass_time(2)
    assert len(slow.seen) == 2
    slow.is_ready = True
    await pass_time(2)
    assert sorted(slow.seen[2:]) == [("jane", 19, True), ("jim", 7, False), ("john", 7, True)]
    # Then it is sent only changes again, and the next time no end that it has been sent
    for x in (20, 21):
        fronts.live[0].share(Sharer(2), position(x))
        await pass_time(2)
        slow.is_ready = False
    fronts.live[0].share(Sharer(2), position(22))
    await pass_time(2)
    slow.is_ready = True
    await pass_time(2)
    assert slow.seen[5] == ("jane", 20, True)
    assert sorted(slow.seen[6:]) == [("jane", 22, True), ("john", 7, True)]


@virtual_time
async def test_the_ends_that_are_kept_for_a_client_that_does_not_read_are_bounded() -> None:
    fronts, slow = Fronts(1), Subscriber()
    fronts.live[0].subscribe(slow)
    slow.is_ready = False
    for number in range(MAX_ENDED + 10):
        fronts.live[0].share(Sharer(number, f"p-{number}"), position(author=f"p-{number}"))
    await pass_time(2)
    for number in range(MAX_ENDED + 10):
        fronts.live[0].stop(number)
        if number % 100 == 0:
            await pass_time(2)
    await pass_time(2)
    slow.is_ready = True
    await pass_time(2)
    assert sorted(slow.seen) == sorted((f"p-{number}", 1.5, False) for number in range(10, MAX_ENDED + 10))


@virtual_time
async def test_very_many_positions_are_sent_less_often_and_in_one_write() -> None:
    fronts, newest, sizes = Fronts(1), Subscriber(), list[int]()
    fronts.live[0].subscribe(newest)
    for _ in range(2000):
        other = Subscriber()
        other.write = lambda data: sizes.append(len(data))  # type: ignore[method-assign]
        fronts.live[0].subscribe(other)
    for x in range(8):
        for number in range(100):
            fronts.live[0].share(Sharer(number, f"p-{number}"), position(x, author=f"p-{number}"))
        await pass_time(1)
    assert sum(sizes) < 11 * 25e6
    await pass_time(10)
    assert [message["x"] for message in newest.writes[-1]] == [7] * 100


@virtual_time
async def test_positions_that_could_not_be_published_are_published_with_the_next() -> None:
    fronts, one = Fronts(1), Subscriber()
    fronts.live[0].subscribe(one)
    fronts.is_away = True
    fronts.live[0].share(Sharer(), position(1))
    await pass_time(5)
    fronts.live[0].share(Sharer(), position(2))
    fronts.is_away = False
    await pass_time(2)
    assert one.seen == [("jane", 2, True)]


@virtual_time
async def test_positions_are_published_one_at_a_time() -> None:
    """Otherwise an older one, delayed by Redis, might arrive last."""
    live, one, answers = LivePositions(Fanout(), TIMINGS), Subscriber(), asyncio.Semaphore(0)
    live.subscribe(one)

    async def publish(body: bytes) -> None:
        await answers.acquire()
        live.receive("front", body)

    live.publish = publish
    for x in range(5):
        live.share(Sharer(), position(x))
        await pass_time(2)
    for _ in range(5):
        answers.release()
    await pass_time(20)
    assert [x for _, x, _ in one.seen] == [0, 4]


@virtual_time
async def test_the_former_holder_of_a_nickname_does_not_end_the_new_holders_position() -> None:
    fronts, one, first = Fronts(1), Subscriber(), Sharer()
    fronts.live[0].subscribe(one)
    fronts.live[0].share(first, position(1))
    first.nickname = "jim"
    fronts.live[0].share(Sharer(2), position(2))
    await pass_time(TIMINGS.live_renewal + 2)
    assert len(fronts.live[0]) == 1
    assert all(holds for _, _, holds in one.seen)


@virtual_time
async def test_the_duration_is_computed_by_the_senders_clock() -> None:
    fronts, one = Fronts(1), Subscriber()
    fronts.live[0].subscribe(one)
    fronts.live[0].share(Sharer(), position(clock=5))  # in 1970
    await settle()
    ((told,),) = one.writes
    assert told["timestamp"] > 1_700_000_000
    assert told["until"] - told["timestamp"] == A_QUARTER
