"""Fair queueing in the heavy lane."""

import itertools

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
    """A queue with named jobs, and a worker that does them one after the other."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ledger = Ledger()
        self.queue = FairQueue(self.ledger)
        self.seconds: dict[str, float] = {}
        self._numbers = itertools.count(1)

    def send(
        self, name: str, address: str, connection: int = 1, *, seconds: float = 0.1, channel: str = "QGIS"
    ) -> None:
        """Enqueue a job that takes `seconds`."""
        source = Source("front", connection, next(self._numbers))
        self.queue.add(channel, name.encode(), Job(source, "image", name, b"", address), self.now)
        (waiting,) = (one for one in self.queue._waiting.values() if one.entry == name.encode())
        waiting.seconds = seconds

    def next(self) -> WaitingJob | None:
        return self.queue.next(self.now)

    def do(self) -> str:
        """Do the next job, as a worker does; return its name."""
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


def test_clients_without_work_are_served_in_order_of_arrival(lane: Lane) -> None:
    assert lane.next() is None
    for number in range(5):
        lane.send(f"photo-{number}", f"192.0.2.{number}", channel=f"channel-{number % 2}")
        lane.now += 0.01
    assert lane.do_all() == [f"photo-{number}" for number in range(5)]


@pytest.mark.parametrize("seconds", [0.001, 0.1, ORDINARY_SECONDS])
def test_sixty_photos_of_one_client_delay_anothers_by_one_at_most(seconds: float) -> None:
    """In an office with one address, too, where one of its clients floods."""
    for channels, address in ((1, JOHN), (2, JOHN), (1, JANE)):
        lane = Lane()
        for number in range(60):
            lane.send(f"jane-{number}", JANE, seconds=seconds, channel=f"channel-{number % channels}")
        done = [lane.do()]
        lane.send("john", address, connection=2, seconds=ORDINARY_SECONDS, channel=f"channel-{channels - 1}")
        assert (done + lane.do_all()).index("john") == 1


def test_the_largest_photo_waits_for_one_small_photo_at_most(lane: Lane) -> None:
    for number in range(3):
        lane.send(f"jane-{number}", JANE, seconds=estimated_seconds(2_000))
    lane.do()
    large = Job(Source("front", 2, 1), "image", "john", b"", JOHN, chunks=48, chunked_size=12_000_000)
    lane.queue.add("QGIS", b"john", large, lane.now)
    assert lane.do() == "john"
    assert 0 < estimated_seconds(5_500_000) <= ORDINARY_SECONDS  # an ordinary photo's


@pytest.mark.parametrize("seconds", [0.001, LONG])
def test_jobs_of_twenty_addresses_delay_no_ordinary_one(lane: Lane, seconds: float) -> None:
    for number in range(20):
        lane.send(f"first-{number}", f"198.51.100.{number}", seconds=seconds)
    if seconds < ORDINARY_SECONDS:  # endless short ones
        for number in range(20):
            lane.do()
            lane.send(f"more-{number}", f"198.51.100.{number}", 2, seconds=seconds)
    else:
        lane.now += 10
    lane.send("jane", JANE, seconds=ORDINARY_SECONDS)
    assert lane.do() == "jane"


def test_many_connections_do_not_give_an_address_more_turns(lane: Lane) -> None:
    for number in range(10):
        lane.send(f"jane-{number}", JANE, connection=number)
        lane.send(f"john-{number}", JOHN, connection=1)
    done = lane.do_all()
    pairs = zip(done[::2], done[1::2], strict=True)
    assert all({first[:4], second[:4]} == {"jane", "john"} for first, second in pairs)


def test_work_of_more_than_a_minute_ago_does_not_count(lane: Lane) -> None:
    lane.ledger.charge(Charge(Person(JANE, "front/1"), LONG), lane.now)
    lane.send("jane", JANE)
    lane.now += 1
    lane.send("john", JOHN)
    assert lane.next().entry == b"john"  # type: ignore[union-attr]
    lane.now += WINDOW_SECONDS
    assert lane.next().entry == b"jane"  # type: ignore[union-attr]
    assert lane.ledger.work(JANE) == 0


def test_no_job_starves(lane: Lane) -> None:
    """Although new clients arrive without end."""
    lane.send("long", JANE, seconds=2.0)
    for number in range(10_000):
        lane.send(f"short-{number}", f"198.51.{number // 250}.{number % 250}")
        if lane.do() == "long":
            return
    pytest.fail("the job was never done")


def test_an_overcharge_is_taken_back(lane: Lane) -> None:
    jane = Person(JANE, "front/1")
    lane.ledger.charge(Charge(jane, 3.0), lane.now)
    lane.now += 1
    lane.ledger.charge(Charge(jane, -2.0), lane.now)
    assert (lane.ledger.work(jane), lane.ledger.work(JANE)) == (1.0, 1.0)
    # And when the first charge expires, the work is not negative
    lane.ledger.forget(lane.now + WINDOW_SECONDS - 0.5)
    assert lane.ledger.work(JANE) == 0.0


def test_a_job_held_by_another_worker_is_skipped_until_that_may_have_returned_it(lane: Lane) -> None:
    lane.send("held", JANE)
    waiting = lane.next()
    assert waiting is not None
    waiting.not_before = lane.now + 1
    assert lane.next() is None
    lane.now += 1
    assert lane.next() is waiting


def test_a_job_seen_twice_is_queued_once(lane: Lane) -> None:
    lane.send("photo", JANE, seconds=LONG)
    waiting = lane.next()
    lane.queue.add("QGIS", b"photo", Job(Source("front", 1, 1), "image", "photo", b"", JANE), lane.now + 5)
    assert lane.next() is waiting
    assert lane.queue.knows_of("QGIS")
    assert not lane.queue.knows_of("QField")
