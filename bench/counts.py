"""What processes do, counted: other programs on the machine change it little, unlike CPU time."""

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ATTACH_SECONDS = 1.0
# asyncio asks for it whenever code asks for its loop, before Python 3.12
LEFT_OUT = "getpid"


def wakings(pid: int) -> int:
    """How often a process has slept and was woken."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def per_text(count: Callable[[], int], speak: Callable[[], int], seconds: float) -> float:
    """The increase of a count per text, without its increase when idle.

    Args:
        speak: sends texts for about `seconds`; returns their number.
    """
    before, began = count(), time.perf_counter()
    time.sleep(seconds)
    by_itself = (count() - before) / (time.perf_counter() - began)
    before, began = count(), time.perf_counter()
    texts = speak()
    return (count() - before - by_itself * (time.perf_counter() - began)) / texts


@contextlib.contextmanager
def system_calls(pids: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Count the system calls within the context, by the processes' names; filled in at its end, if strace can."""
    counted: dict[str, int] = {}
    if shutil.which("strace") is None:
        yield counted
        return
    command = ["strace", "-f", "-c", "-e", f"trace=!{LEFT_OUT}", "-p"]
    tracing = {
        name: subprocess.Popen([*command, str(pid)], stderr=subprocess.PIPE, text=True) for name, pid in pids.items()
    }
    try:
        time.sleep(ATTACH_SECONDS)
        yield counted
    finally:
        for name, process in tracing.items():
            process.send_signal(signal.SIGINT)
            _, said = process.communicate()
            if said.rstrip().endswith("total"):
                counted[name] = int(said.splitlines()[-1].split()[3])  # share, seconds, µs a call, calls, errors
