"""Fair queueing in the heavy lane: by address and connection first, then by arrival. Pure: no Redis, no clock.

A job's rank is the work done for its address in the last minute, plus the job's predicted cost, minus a little for its
waiting time so that no job starves; the lowest rank is next. Within an address, connections are ranked likewise.
Channels play no role: a flood in one channel delays nobody else, in that channel or another.

Ledger      the work done per address and connection in the last minute
WaitingJob  a job that no worker holds, as far as is known
FairQueue   all waiting jobs, and the choice of the next
"""

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import NamedTuple

from gischat.broker.entries import Job

WINDOW_SECONDS = 60.0
# An ordinary photo on a slow machine. No job counts as less work, since many small ones are a flood, too. Jobs that are
# predicted to take longer wait for clients that have only ordinary ones.
ORDINARY_SECONDS = 0.25
# Reduction of a job's rank per second of waiting. It is small, so that old jobs of a client that floods the lane do not
# get ahead of everybody else's.
FORGIVEN_SHARE = 0.01
_SECONDS_PER_BYTE = 2.5e-8


def estimated_seconds(size: int) -> float:
    """The usual cost of a photo or layer of that size. It does not consider a picture's pixels and scans."""
    return size * _SECONDS_PER_BYTE


class Person(NamedTuple):
    """The client to whom work is charged: a connection of a network address (see `Job.client`)."""

    address: str
    connection: str

    @classmethod
    def of(cls, job: Job) -> "Person":
        return cls(job.client, job.source.connection_id)


class Charge(NamedTuple):
    """Seconds of work for a client; negative to take back an overcharge."""

    person: Person
    seconds: float


class Ledger:
    """The work of the last minute, in seconds: by address, and by connection."""

    def __init__(self) -> None:
        self._charges: deque[tuple[float, Charge]] = deque()  # oldest first
        self._work: defaultdict[str | Person, float] = defaultdict(float)
        self._charged: defaultdict[str | Person, int] = defaultdict(int)  # number of charges for each

    def charge(self, charge: Charge, at: float) -> None:
        """Record work done at a time; charges should come in order, since one out of order is forgotten late."""
        self._charges.append((at, charge))
        for whose in (charge.person.address, charge.person):
            self._work[whose] += charge.seconds
            self._charged[whose] += 1

    def forget(self, now: float) -> None:
        """Drop charges older than a minute."""
        while self._charges and self._charges[0][0] < now - WINDOW_SECONDS:
            _, charge = self._charges.popleft()
            for whose in (charge.person.address, charge.person):
                self._work[whose] -= charge.seconds
                self._charged[whose] -= 1
                if not self._charged[whose]:  # do not keep the rounding error of the sum
                    del self._work[whose], self._charged[whose]

    def work(self, whose: str | Person) -> float:
        # Negative when a charge has expired, and the later one that takes it back has not.
        return max(self._work.get(whose, 0.0), 0.0)


@dataclass(slots=True)
class WaitingJob:
    """A job's entry and what is known of it without its body."""

    channel: str
    entry: bytes
    person: Person
    since: float  # time when it was enqueued, or first seen
    seconds: float  # estimated cost
    is_predicted: bool = False  # estimated by its content, not by its size
    not_before: float = 0.0  # do not ask for it earlier, since another worker held it


class FairQueue:
    """The jobs that no worker holds, as far as is known; other workers may take some of them meanwhile."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: dict[tuple[str, bytes], WaitingJob] = {}

    def add(self, channel: str, entry: bytes, job: Job, now: float) -> None:
        """Add a job unless it is known already."""
        if (channel, entry) not in self._waiting:
            # By its size alone nothing is known to be more than ordinary: it waits for no second job of somebody else.
            seconds = min(estimated_seconds(job.size), ORDINARY_SECONDS)
            self._waiting[channel, entry] = WaitingJob(channel, entry, Person.of(job), now, seconds)

    def remove(self, waiting: WaitingJob) -> None:
        self._waiting.pop((waiting.channel, waiting.entry), None)

    def put_back(self, waiting: WaitingJob) -> None:
        self._waiting[waiting.channel, waiting.entry] = waiting

    def knows_of(self, channel: str) -> bool:
        return any(waiting.channel == channel for waiting in self._waiting.values())

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self, now: float) -> WaitingJob | None:
        """The job to do next; None if there is none to ask for."""
        self._ledger.forget(now)
        best: dict[str, tuple[float, WaitingJob]] = {}  # by address
        for waiting in self._waiting.values():
            if waiting.not_before > now:
                continue
            rank = self._rank(waiting, waiting.person, now)
            known = best.get(waiting.person.address)
            if known is None or rank < known[0]:
                best[waiting.person.address] = (rank, waiting)
        of_each = (waiting for _, waiting in best.values())
        return min(of_each, key=lambda waiting: self._rank(waiting, waiting.person.address, now), default=None)

    def _rank(self, waiting: WaitingJob, whose: str | Person, now: float) -> float:
        return self._ledger.work(whose) + waiting.seconds - FORGIVEN_SHARE * (now - waiting.since)
