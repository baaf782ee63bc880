"""`python -m bench.many`: a hundred thousand people in one room, on one machine, with four fronts.

They come, hear a text, are sent from front to front while all of these start anew, come back, and hear another text:
everybody, or it fails. Each takes two descriptors here, one of a front and one of the load. Clients come from addresses
127.0.x.y, for from one address no more than 28 000 can come to a port.
"""

import argparse
import asyncio
import contextlib
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.crowd import Client, Clients, Crowd, crowds, together
from bench.house import Ground, House, wait_until
from bench.report import machine

CROWDS = 4
BATCHES = 10  # of people who come at once
AT_ONCE = 50  # connections that a process is opening at a time
MORE_FILES = 1000  # than connections, in a process
SETTLE_SECONDS = 5.0  # until what joining leaves behind has been cleared away
BACK_SECONDS = 300.0
RETRY_SECONDS = 0.5
LISTENS = "0A"  # in /proc/net/tcp
TOO_FEW_FILES = (
    "{} people need {} open files in a process. Run this with more --fronts, or as root (with CAP_SYS_RESOURCE), or "
    "raise the limit before: LimitNOFILE= of a systemd unit, nofile in /etc/security/limits.conf, docker run --ulimit "
    "nofile=…; above fs.nr_open (sysctl), that, too."
)


class Person(Client):
    """A client that comes back when its connection ends."""

    def connection_lost(self, error: Exception | None) -> None:
        if self.ready.done():
            assert isinstance(self._all, People)
            self._all.lose(self)
        else:
            super().connection_lost(error)


class Here(NamedTuple):
    """Who is there."""

    people: int  # who have heard an `nb_users` since they came
    returns: int  # how often somebody has come back


class People(Clients):
    """The people of one process."""

    kind = Person

    def __init__(self) -> None:
        super().__init__()
        self._door = asyncio.Semaphore(AT_ONCE)
        self._coming: set[asyncio.Task[None]] = set()
        self._returns = 0

    def lose(self, person: Person) -> None:
        coming = asyncio.create_task(self._bring_back(person))
        self._coming.add(coming)
        coming.add_done_callback(self._coming.discard)

    async def _bring_back(self, person: Person) -> None:
        person.counts = 0
        async with self._door:
            while True:
                person.reset()
                with contextlib.suppress(OSError):  # it may have come to a front that ends, too
                    await person.connect()
                    break
                await asyncio.sleep(RETRY_SECONDS)
        self._returns += 1

    async def here(self) -> Here:
        """Who is there by now."""
        return Here(sum(client.counts > 0 for client in self._clients), self._returns)


class Memory(NamedTuple):
    """Bytes: of all together, the kernel's sockets included; of the fronts; and of the load's processes."""

    all: int
    fronts: int
    load: int

    @classmethod
    def now(cls, house: House, load: Sequence[Crowd]) -> "Memory":
        fronts = sum(front.resident_bytes() for front in house.fronts)
        return cls(-_available_bytes(), fronts, sum(_resident_bytes(crowd.pid) for crowd in load))


def play(ground: Ground, people: int, fronts: int) -> Iterator[str]:
    """What was measured, line by line."""
    batch = people // BATCHES
    with ground.house(fronts=fronts, heavy=0) as house, crowds(CROWDS, People) as load:
        before, rates = Memory.now(house, load), []
        for number in range(BATCHES):
            rates.append(_join(house, load, batch, number))
            yield f"joins up to {(number + 1) * batch}: {rates[-1]:.0f} /s"
        returns = _until_back(load, people)
        yield f"lost and come back meanwhile: {returns}"
        yield f"the last tenth's joins against the first's: {rates[-1] / rates[0]:.2f}"
        time.sleep(SETTLE_SECONDS)
        after = Memory.now(house, load)
        each = [(later - earlier) / people / 1024 for later, earlier in zip(after, before, strict=True)]
        yield f"memory of each: {each[1]:.1f} KiB of a front, {each[2]:.1f} of the load, {each[0]:.1f} of all together"
        yield f"memory of all together: {(after.all - before.all) / 2**30:.2f} GiB more than without people"
        yield f"one text to everybody: {_text_to_all(load, people):.2f} s until the last one has it"
        start = time.perf_counter()
        for front in house.fronts:
            began = time.perf_counter()
            front.stop()
            stopped = time.perf_counter() - began
            front.start()
            wait_until(lambda: _listeners(house.port) == fronts, "all fronts listen again")
            returns = _until_back(load, people)
            took = time.perf_counter() - began
            yield f"a front anew: stopped within {stopped:.1f} s, all back after {took:.1f}, {returns} returns so far"
        yield f"all fronts anew: {time.perf_counter() - start:.1f} s, {returns / people:.2f} returns of each"
        wait_until(lambda: house.people() == people, f"{people} are counted")
        time.sleep(SETTLE_SECONDS)
        yield f"one text to everybody: {_text_to_all(load, people):.2f} s until the last one has it"


def _join(house: House, load: Sequence[Crowd], people: int, number: int) -> float:
    """Lets so many come, each process' from an address of their own; returns how many a second."""
    start = time.perf_counter()
    addresses = [house.address._replace(source=f"127.0.{2 + number}.{2 + place}") for place in range(len(load))]
    share = people // len(load)
    together([crowd.begin("join", share, source, AT_ONCE) for crowd, source in zip(load, addresses, strict=True)])
    return people / (time.perf_counter() - start)


def _text_to_all(load: Sequence[Crowd], people: int) -> float:
    """Seconds until everybody has heard a text."""
    before = [crowd.ask("report").get("text", (0, 0))[0] for crowd in load]
    start = time.perf_counter()
    load[0].ask("speak", 1, 0, 1)
    share = people // len(load)
    waiting = [crowd.begin("until_heard", "text", heard + share) for crowd, heard in zip(load, before, strict=True)]
    return float(max(together(waiting))) - start


def _until_back(load: Sequence[Crowd], people: int) -> int:
    """Waits until everybody is there; how often somebody has come back by then."""
    here: list[Here] = []

    def all_here() -> bool:
        here[:] = together([crowd.begin("here") for crowd in load])
        return sum(one.people for one in here) == people

    wait_until(all_here, "everybody is back", BACK_SECONDS)
    return sum(one.returns for one in here)


def _listeners(port: int) -> int:
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(fields[3] == LISTENS and fields[1].endswith(f":{port:04X}") for fields in lines)


def _available_bytes() -> int:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def _raise_files(people: int, fronts: int) -> None:
    """Raises the limit of open files, the hard one, too, where that is allowed; children inherit it."""
    # When all fronts start anew, one by one, each one's people go to all others: the last has the most.
    most = people / fronts * (fronts / max(fronts - 1, 1)) ** (fronts - 1)
    needed = int(max(most, people / CROWDS)) + MORE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
        except (ValueError, OSError):
            sys.exit(TOO_FEW_FILES.format(people, needed))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.many", description=__doc__)
    parser.add_argument("--people", type=int, default=100_000, help="a multiple of 40")
    parser.add_argument("--fronts", type=int, default=4, help="more of them need fewer open files each")
    given = parser.parse_args()
    people: int = given.people
    if people % (BATCHES * CROWDS):
        parser.error(f"{people} are no multiple of {BATCHES * CROWDS}")
    _raise_files(people, given.fronts)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is stopped, as by Ctrl-C
    print(", ".join(f"{name}: {value}" for name, value in machine().items()), flush=True)
    with Ground() as ground:
        for line in play(ground, people, given.fronts):
            print(line, flush=True)


if __name__ == "__main__":
    main()
