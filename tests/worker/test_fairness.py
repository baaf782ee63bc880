"""Whose job is next in the heavy lane."""

import itertools
from typing import Any

import pytest

from gischat.broker.entries import Job, Source
from worker.fairness import (
    ORDINARY_SECONDS,
    WINDOW_SECONDS,
    Charge,
    FairQueue,
    Ledger,
    Person,
    WaitingJob,
    estimated_seconds,
)

JANE, JOHN = "192.0.2.1", "192.0.2.2"
LONG = 20 * ORDINARY_SECONDS


class Lane:
    """A queue whose jobs are named, and a worker who does them one after the other."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ledger = Ledger()
        self.queue = FairQueue(self.ledger)
        self.seconds: dict[str, float] = {}
        self._numbers = itertools.count(1)

    def send(
        self, name: str, address: str, connection: int = 1, *, seconds: float = 0.1, channel: str = "QGIS"
    ) -> None:
        """A job that takes so long comes into a channel."""
        source = Source("front", connection, next(self._numbers))
        self.queue.add(channel, name.encode(), Job(source, "image", name, b"", address), self.now)
        (waiting,) = (one for one in self.queue._waiting.values() if one.entry == name.encode())
        waiting.seconds = seconds

    def next(self) -> WaitingJob | None:
        return self.queue.next(self.now)

    def do(self) -> str:
        """Does the next job, as a worker does."""
        waiting = self.next()
        assert waiting is not None
        self.queue.remove(waiting)
        self.now += waiting.seconds
        self.ledger.charge(Charge(waiting.person, max(waiting.seconds, ORDINARY_SECONDS)), self.now)
        return waiting.entry.decode()

    def do_all(self) -> list[str]:
        return [self.do() for _ in range(len(self.queue))]


@pytest.fixture
def lane() -> Lane:
    return Lane()


def test_nothing_is_next_where_nothing_waits(lane: Lane) -> None:
    assert lane.next() is None


def test_people_for_whom_nothing_was_done_come_in_the_order_of_their_arrival(lane: Lane) -> None:
    for number in range(5):
        lane.send(f"photo-{number}", f"192.0.2.{number}", channel=f"channel-{number % 2}")
        lane.now += 0.01
    assert lane.do_all() == [f"photo-{number}" for number in range(5)]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.001, 0.1, ORDINARY_SECONDS])
def test_sixty_photos_of_one_person_delay_anothers_by_one_at_the_most(
    lane: Lane, channels: int, seconds: float
) -> None:
    for number in range(60):
        lane.send(f"jane-{number}", JANE, connection=number, seconds=seconds, channel=f"channel-{number % channels}")
    done = [lane.do()]
    lane.send("john", JOHN, seconds=ORDINARY_SECONDS, channel=f"channel-{channels - 1}")
    done += lane.do_all()
    assert done.index("john") == 1


def test_a_photo_as_large_as_we_take_waits_for_no_second_small_one(lane: Lane) -> None:
    for number in range(3):
        lane.send(f"jane-{number}", JANE, seconds=estimated_seconds(2_000))
    lane.do()
    large = Job(Source("front", 2, 1), "image", "john", b"", JOHN, chunks=48, chunked_size=12_000_000)
    lane.queue.add("QGIS", b"john", large, lane.now)
    assert lane.do() == "john"


def test_twenty_addresses_that_go_on_with_the_shortest_jobs_go_before_nobody(lane: Lane) -> None:
    for number in range(20):
        lane.send(f"first-{number}", f"198.51.100.{number}", seconds=0.001)
    for _ in range(20):
        lane.do()
    for number in range(20):
        lane.send(f"more-{number}", f"198.51.100.{number}", 2, seconds=0.001)
    lane.send("jane", JANE, seconds=ORDINARY_SECONDS)
    assert lane.do() == "jane"


def test_long_jobs_of_people_who_are_new_wait_for_an_ordinary_one(lane: Lane) -> None:
    for number in range(20):
        lane.send(f"flood-{number}", f"198.51.100.{number}", seconds=LONG)
    lane.now += 10
    lane.send("jane", JANE)
    assert lane.do() == "jane"


def test_within_an_address_connections_are_people(lane: Lane) -> None:
    """An office is one address, and only one in it floods."""
    for number in range(5):
        lane.send(f"flood-{number}", JANE, connection=1)
    lane.do()
    lane.send("colleague", JANE, connection=2)
    assert lane.do() == "colleague"


def test_an_address_has_its_turn_however_many_connections_it_has(lane: Lane) -> None:
    for number in range(10):
        lane.send(f"jane-{number}", JANE, connection=number)
        lane.send(f"john-{number}", JOHN, connection=1)
    done = lane.do_all()
    pairs = zip(done[::2], done[1::2], strict=True)
    assert all({first[:4], second[:4]} == {"jane", "john"} for first, second in pairs)


def test_what_was_done_a_minute_ago_is_forgotten(lane: Lane) -> None:
    lane.ledger.charge(Charge(Person(JANE, "front/1"), LONG), lane.now)
    lane.send("jane", JANE)
    lane.now += 1
    lane.send("john", JOHN)
    assert lane.next().entry == b"john"  # type: ignore[union-attr]
    lane.now += WINDOW_SECONDS
    assert lane.next().entry == b"jane"  # type: ignore[union-attr]
    assert lane.ledger.work(JANE) == 0


def test_nobody_waits_for_ever(lane: Lane) -> None:
    """However many others come who are new."""
    lane.send("long", JANE, seconds=2.0)
    for number in range(10_000):
        lane.send(f"short-{number}", f"198.51.{number // 250}.{number % 250}")
        if lane.do() == "long":
            return
    pytest.fail("it was never done")


def test_what_was_charged_too_much_is_taken_back(lane: Lane) -> None:
    jane = Person(JANE, "front/1")
    lane.ledger.charge(Charge(jane, 3.0), lane.now)
    lane.now += 1
    lane.ledger.charge(Charge(jane, -2.0), lane.now)
    assert (lane.ledger.work(jane), lane.ledger.work(JANE)) == (1.0, 1.0)
    # And when the first is forgotten, nobody has done less than nothing
    lane.ledger.forget(lane.now + WINDOW_SECONDS - 0.5)
    assert lane.ledger.work(JANE) == 0.0


def test_a_job_that_another_worker_holds_is_not_asked_for_until_it_may_have_been_given_back(lane: Lane) -> None:
    lane.send("held", JANE)
    waiting = lane.next()
    assert waiting is not None
    waiting.not_before = lane.now + 1
    assert lane.next() is None
    lane.now += 1
    assert lane.next() is waiting


def test_a_job_that_is_seen_again_stays_as_it_is_known(lane: Lane) -> None:
    lane.send("photo", JANE, seconds=LONG)
    waiting = lane.next()
    lane.queue.add("QGIS", b"photo", Job(Source("front", 1, 1), "image", "photo", b"", JANE), lane.now + 5)
    assert lane.next() is waiting
    assert lane.queue.knows_of("QGIS")
    assert not lane.queue.knows_of("QField")


def test_what_people_send_is_ordinary_by_its_size() -> None:
    assert 0 < estimated_seconds(5_500_000) <= ORDINARY_SECONDS


def test_each_job_is_looked_at_once_and_one_of_each_address_twice(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        lane.send(f"photo-{number}", f"192.0.2.{number % 10}", connection=number)
    looks, rank = 0, lane.queue._rank

    def counted(*arguments: Any) -> float:
        nonlocal looks
        looks += 1
        return rank(*arguments)

    monkeypatch.setattr(lane.queue, "_rank", counted)
    lane.next()
    assert looks == 200 + 10
