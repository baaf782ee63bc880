"""The metrics of a host's processes, in files of one directory: which process has which files, and which ones live."""

import contextlib
import fcntl
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gischat.observability.counter_files import share


@contextlib.contextmanager
def multiprocess(directory: str, kind: str, name: str = "") -> Iterator[str]:
    """Keep this process' metrics in files in `directory`, beside those of the host's other processes.

    Yields the name of the files: `name` (letters, digits, `.` and `-`), or if that is taken or empty, the first free
    one of kind-1, kind-2, …. A process that reuses a dead one's name continues its counters, so the files stay few and
    a restart loses no counts. Gauges end with their process.

    Raises:
        OSError: the directory cannot be created or written.
    """
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    with _take_name(directory, kind, name) as lock:
        taken = Path(lock.name).stem
        for stale in Path(directory).glob(f"gauge_*_{taken}.db"):
            stale.unlink()
        share(Path(directory), taken)
        yield taken


def _take_name(directory: str, kind: str, name: str) -> IO[str]:
    """Lock a free name; returns the lock file. The kernel releases the lock however the process ends."""
    numbered = (f"{kind}-{number}" for number in itertools.count(1))
    wished = [re.sub(r"[^A-Za-z0-9.-]", "-", name)] if name else []  # the library splits file names at each `_`
    with _looking(directory, fcntl.LOCK_EX):
        for candidate in itertools.chain(wished, numbered):
            lock = Path(directory, f"{candidate}.lock").open("a")  # noqa: SIM115 - open as long as it is ours
            if _lock(lock, fcntl.LOCK_EX):
                return lock
            lock.close()
    raise AssertionError("numbers do not end")


def living(directory: str) -> set[str]:
    """The names of the live processes."""
    found = set()
    with _looking(directory, fcntl.LOCK_SH):
        for path in Path(directory).glob("*.lock"):
            with path.open() as lock:
                if not _lock(lock, fcntl.LOCK_SH):
                    found.add(path.stem)
    return found


@contextlib.contextmanager
def _looking(directory: str, how: int) -> Iterator[None]:
    """Lock the directory: `living` tries the names' locks for a moment, which must not disturb `_take_name`."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _lock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
