"""Which process is which, so that another one on the same machine can see whether it still runs."""

import os
import sys
from pathlib import Path

_PROC = Path("/proc")


def identity() -> str:
    """This process: its machine since it was booted, its number there, and when it began. Empty if that is not known.

    A container has process numbers of its own: it counts as a machine of its own.
    """
    if sys.platform != "linux":
        return ""
    try:
        return f"{_machine()} {os.getpid()} {_began(os.getpid())}"
    except OSError:
        return ""


def is_gone(other: str) -> bool:
    """Whether the process of that identity has ended; False where that cannot be known from here."""
    try:
        machine, number, began = other.split(" ")
        if machine != _machine():
            return False
    except (OSError, ValueError):
        return False
    try:
        return _began(int(number)) != began
    except FileNotFoundError:
        return True


def _machine() -> str:
    booted = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{booted}/{os.readlink(_PROC / 'self/ns/pid')}"


def _began(number: int) -> str:
    """When a process began, in ticks since the machine was booted: field 22 of proc_pid_stat(5).

    The second field is the program's name, in parentheses, and may hold anything.
    """
    fields = (_PROC / str(number) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):  # it has ended, and nobody has asked for its exit status yet
        raise FileNotFoundError
    return fields[19]
