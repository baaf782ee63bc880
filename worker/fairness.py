"""Whose job is next in the heavy lane: by person first, then by arrival. Pure: no Redis, no clock of its own.

Whoever has had the least work done for him in the last minute goes first, and of those who had none whoever asks for
the least: the rank of a job is the work of its address plus what the job is predicted to cost, less a little for its
waiting, so that nobody waits for ever. Within an address it is the same by connection. Channels have no say: who floods
one is in nobody's way in it or in another.

Ledger      what was done for whom in the last minute
Waiting     a job that no worker holds, as far as is known
FairQueue   all that wait, and which of them is next
"""

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import NamedTuple

from gischat.broker.entries import Job

WINDOW_SECONDS = 60.0
# An ordinary photo on a slow machine. No job counts as less work: many small ones are a flood, too. And what is
# predicted to take longer waits for all who have only ordinary ones.
ORDINARY_SECONDS = 0.25
# So much of its cost is forgiven for each second that a job waits. It is little, or whoever fills the lane with jobs
# that wait for long would have them before everybody else's.
FORGIVEN_SHARE = 0.01
_SECONDS_PER_BYTE = 2.5e-8


def estimated_seconds(size: int) -> float:
    """What a photo or layer of so many bytes takes as a rule. It says nothing of a picture's pixels and scans."""
    return size * _SECONDS_PER_BYTE


class Person(NamedTuple):
    """Whose work is counted: a connection of a network address (see `Job.client`)."""

    address: str
    connection: str

    @classmethod
    def of(cls, job: Job) -> "Person":
        return cls(job.client, job.source.connection_id)


class Charge(NamedTuple):
    """So many seconds of work for somebody; what was charged too much is taken back by less than none."""

    person: Person
    seconds: float


class Ledger:
    """The work of the last minute, in seconds: by address, and by connection."""

    def __init__(self) -> None:
        self._charges: deque[tuple[float, Charge]] = deque()  # oldest first
        self._work: defaultdict[str | Person, float] = defaultdict(float)
        self._charged: defaultdict[str | Person, int] = defaultdict(int)  # how many charges there are for each

    def charge(self, charge: Charge, at: float) -> None:
        """Notes work that was done then; not earlier than what was noted before, or it is forgotten later."""
        self._charges.append((at, charge))
        for whose in (charge.person.address, charge.person):
            self._work[whose] += charge.seconds
            self._charged[whose] += 1

    def forget(self, now: float) -> None:
        """Drops what was done more than a minute ago."""
        while self._charges and self._charges[0][0] < now - WINDOW_SECONDS:
            _, charge = self._charges.popleft()
            for whose in (charge.person.address, charge.person):
                self._work[whose] -= charge.seconds
                self._charged[whose] -= 1
                if not self._charged[whose]:  # what is left of a sum of floats is no work
                    del self._work[whose], self._charged[whose]

    def work(self, whose: str | Person) -> float:
        # What was taken back is remembered a little longer than what it was taken from.
        return max(self._work.get(whose, 0.0), 0.0)


@dataclass(slots=True)
class WaitingJob:
    """A job's place and what is known of it without its body."""

    channel: str
    entry: bytes
    person: Person
    since: float  # when it came, or was first seen
    seconds: float  # that it takes, as far as is known
    is_predicted: bool = False  # by what is in it, not by its size
    not_before: float = 0.0  # another worker held it: until then it is not asked for


class FairQueue:
    """The jobs that no worker holds, as far as is known: others take some of them meanwhile."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: dict[tuple[str, bytes], WaitingJob] = {}

    def add(self, channel: str, entry: bytes, job: Job, now: float) -> None:
        """Notes a job; one that is known stays as it is known."""
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
        """The job that is to be done next; None when there is none to ask for."""
        self._ledger.forget(now)
        best: dict[str, tuple[float, WaitingJob]] = {}  # of each address
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
