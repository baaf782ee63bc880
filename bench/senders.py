"""Baselines: programs that send the same bytes to as many sockets, and report their CPU time.

A sender prints the port that it listens on, accepts its clients, and prints "ready". On each input line "ROUNDS PAUSE"
it sends to all of them, ROUNDS times, every PAUSE microseconds; then it prints the number of sends, and the nanoseconds
of CPU time they took.
"""

import contextlib
import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.crowd import Address, crowds, together

HERE = Path(__file__).parent
CLIENTS = 2500  # per process

Program = Sequence[str]  # a sender's command, without the number of clients and the size of frames


class Sender:
    """A running sender, its clients connected."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def microseconds_per_send(self, rate: float, seconds: float) -> float:
        """CPU time per send, with `rate` sends per second to each client."""
        sends, nanoseconds = self._ask(f"{max(1, round(rate * seconds))} {round(1e6 / rate)}").split()
        return int(nanoseconds) / int(sends) / 1000

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        return self._process.stdout.readline()


@contextlib.contextmanager
def sender(program: Program, clients: int, size: int) -> Iterator[Sender]:
    """Run a sender with so many clients, which read frames of `size` bytes."""
    command = [*program, str(clients), str(size)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
    assert process.stdout is not None
    with crowds(math.ceil(clients / CLIENTS)) as readers:
        try:
            address = Address(int(process.stdout.readline()), speaks_websocket=False)
            shares = [(clients + turn) // len(readers) for turn in range(len(readers))]
            together([crowd.begin("join", share, address, 100) for crowd, share in zip(readers, shares, strict=True)])
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"{program[0]} did not take its clients")
            yield Sender(process)
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def floor_program() -> Iterator[Program]:
    """Compile floor.c, the baseline in C."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise SystemExit("the bench compares the server with a C program: install a C compiler (apt-get install gcc)")
    with tempfile.TemporaryDirectory(prefix="gischat-floor-") as directory:
        program = f"{directory}/floor"
        subprocess.run([compiler, "-O2", "-o", program, str(HERE / "floor.c")], check=True)
        yield [program]
