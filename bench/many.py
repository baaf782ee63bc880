"""`python -m bench.many`: a hundred thousand clients in one room, on one machine.

The clients join, receive a text, reconnect while all fronts are restarted one by one, and receive another text; the
benchmark fails if a client is missing. Each client uses two descriptors, one in a front and one in the load generator.
The clients connect from addresses 127.0.x.y, because one address allows only 28 000 connections to a port.
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
from statistics import harmonic_mean
from typing import NamedTuple

from bench.crowd import Client, Clients, Crowd, crowds, together
from bench.house import Ground, House, wait_until
from bench.report import machine

FRONTS, MAX_FRONTS = 4, 64
CROWDS = 8
BATCHES = 50  # in which the clients join: each has to join within the load generator's deadline
LINE_BATCHES = 5  # batches of a printed line
AT_ONCE = 50  # connections that a process opens at a time
MORE_FILES = 1000  # open files of a process beyond its connections
SETTLE_SECONDS = 5.0  # after joining, until garbage has been collected
BACK_SECONDS = 300.0
RETRY_SECONDS = 0.5
LISTENS = "0A"  # the state LISTEN in /proc/net/tcp
TOO_FEW_FILES = (
    "{} clients need more than {} open files in a process. Run this with more --fronts, or as root (with "
    "CAP_SYS_RESOURCE), or raise the limit before: LimitNOFILE= of a systemd unit, nofile in "
    "/etc/security/limits.conf, docker run --ulimit nofile=…; beyond fs.nr_open, raise that (sysctl), too."
)


class Person(Client):
    """A client that reconnects when its connection ends."""

    def connection_lost(self, error: Exception | None) -> None:
        if self.ready.done():
            assert isinstance(self._all, People)
            self._all.lose(self)
        else:
            super().connection_lost(error)


class Here(NamedTuple):
    """The number of connected clients, and of reconnections."""

    people: int  # clients that have received an `nb_users` since they connected
    returns: int  # reconnections so far


class People(Clients):
    """The clients of one process."""

    kind = Person

    def __init__(self) -> None:
        super().__init__()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._reconnecting: set[asyncio.Task[None]] = set()
        self._returns = 0

    def lose(self, person: Person) -> None:
        task = asyncio.create_task(self._reconnect(person))
        self._reconnecting.add(task)
        task.add_done_callback(self._reconnecting.discard)

    async def _reconnect(self, person: Person) -> None:
        person.counts = 0
        async with self._slots:
            while True:
                person.reset()
                with contextlib.suppress(OSError):  # this front may be exiting, too
                    await person.connect()
                    break
                await asyncio.sleep(RETRY_SECONDS)
        self._returns += 1

    async def here(self) -> Here:
        """The current numbers."""
        return Here(sum(client.counts > 0 for client in self._clients), self._returns)


class Memory(NamedTuple):
    """Bytes used by the machine, including the kernel's sockets; by the fronts; and by the load generator."""

    all: int
    fronts: int
    load: int

    @classmethod
    def now(cls, house: House, load: Sequence[Crowd]) -> "Memory":
        fronts = sum(front.resident_bytes() for front in house.fronts)
        return cls(-_available_bytes(), fronts, sum(_resident_bytes(crowd.pid) for crowd in load))


def play(ground: Ground, people: int, fronts: int) -> Iterator[str]:
    """Run the benchmark; yields a line for each measurement."""
    batch = people // BATCHES
    with ground.house(fronts=fronts, heavy=0) as house, crowds(CROWDS, People) as load:
        before, rates = Memory.now(house, load), []
        for number in range(BATCHES):
            rates.append(_join(house, load, batch, number))
            if (number + 1) % LINE_BATCHES == 0:
                mean = harmonic_mean(rates[-LINE_BATCHES:])
                yield f"joins up to {(number + 1) * batch}: {mean:.0f} /s"
        returns = _until_back(load, people)
        yield f"reconnections meanwhile: {returns}"
        first, last = harmonic_mean(rates[:LINE_BATCHES]), harmonic_mean(rates[-LINE_BATCHES:])
        yield f"joins per second, the last tenth against the first: {last / first:.2f}"
        time.sleep(SETTLE_SECONDS)
        after = Memory.now(house, load)
        each = [(later - earlier) / people / 1024 for later, earlier in zip(after, before, strict=True)]
        yield f"memory per client: {each[1]:.1f} KiB of a front, {each[2]:.1f} of the load, {each[0]:.1f} in all"
        yield f"memory of the machine: {(after.all - before.all) / 2**30:.2f} GiB more than without clients"
        yield f"one text to all: {_text_to_all(load, people):.2f} s until the last client has received it"
        start = time.perf_counter()
        for front in house.fronts:
            began = time.perf_counter()
            front.stop()
            stopped = time.perf_counter() - began
            front.start()
            wait_until(lambda: _listeners(house.port) == fronts, "all fronts listen again")
            returns = _until_back(load, people)
            took = time.perf_counter() - began
            yield f"a front restarted: stopped in {stopped:.1f} s, all back after {took:.1f}, {returns} reconnections"
        yield f"all fronts restarted: {time.perf_counter() - start:.1f} s, {returns / people:.2f} reconnections each"
        wait_until(lambda: house.people() == people, f"{people} are counted")
        time.sleep(SETTLE_SECONDS)
        yield f"one text to all: {_text_to_all(load, people):.2f} s until the last client has received it"


def _join(house: House, load: Sequence[Crowd], people: int, number: int) -> float:
    """Connect `people` clients, each process's from an address of its own; returns the joins per second."""
    start = time.perf_counter()
    addresses = [house.address._replace(source=f"127.0.{2 + number}.{2 + place}") for place in range(len(load))]
    share = people // len(load)
    together([crowd.begin("join", share, source, AT_ONCE) for crowd, source in zip(load, addresses, strict=True)])
    return people / (time.perf_counter() - start)


def _text_to_all(load: Sequence[Crowd], people: int) -> float:
    """Send a text; returns the seconds until all clients have received it."""
    before = [crowd.ask("report").get("text", (0, 0))[0] for crowd in load]
    start = time.perf_counter()
    load[0].ask("speak", 1, 0, 1)
    share = people // len(load)
    waiting = [crowd.begin("until_heard", "text", heard + share) for crowd, heard in zip(load, before, strict=True)]
    return float(max(together(waiting))) - start


def _until_back(load: Sequence[Crowd], people: int) -> int:
    """Wait until all clients are connected; returns the number of reconnections so far."""
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


def _raise_files(people: int, fronts: int) -> bool:
    """Raise the limit of open files to what that needs, for children, too; False if that is not allowed."""
    needed = int(max(_most_of_a_front(people, fronts), people / CROWDS)) + MORE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
        except (ValueError, OSError):
            return False
    return True


def _most_of_a_front(people: int, fronts: int) -> float:
    """The clients of the last front before its restart: each restarted front's clients move to all others."""
    return people / fronts * (fronts / max(fronts - 1, 1)) ** (fronts - 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.many", description=__doc__)
    parser.add_argument("--people", type=int, default=100_000, help=f"a multiple of {BATCHES * CROWDS}")
    parser.add_argument("--fronts", type=int, help="default: 4, or as many as the limit of open files requires")
    given = parser.parse_args()
    people: int = given.people
    if people % (BATCHES * CROWDS):
        parser.error(f"{people} is not a multiple of {BATCHES * CROWDS}")
    choice: Sequence[int] = [given.fronts] if given.fronts else range(FRONTS, MAX_FRONTS + 1)
    fronts = next((number for number in choice if _raise_files(people, number)), 0)
    if not fronts:
        sys.exit(TOO_FEW_FILES.format(people, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # stops all processes, as by Ctrl-C
    print(", ".join(f"{name}: {value}" for name, value in machine().items()), f"fronts: {fronts}", sep=", ", flush=True)
    with Ground() as ground:
        for line in play(ground, people, fronts):
            print(line, flush=True)


if __name__ == "__main__":
    main()
