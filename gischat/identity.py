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
        if machine != _machine() or not number.isdecimal():
            return False
    except (OSError, ValueError):
        return False
    try:
        return _began(int(number)) != began
    except OSError:  # it has ended, or a hardened service hides others' processes (hidepid, user namespaces)
        return not _exists(int(number))


def _exists(number: int) -> bool:
    """Whether there is such a process; signal 0 is only checked, never sent (kill(2))."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def _machine() -> str:
    booted = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{booted}/{os.readlink(_PROC / 'self/ns/pid')}"


def _began(number: int) -> str | None:
    """When a process began, in ticks since the machine was booted: field 22 of proc_pid_stat(5); None if it has ended.

    The second field is the program's name, in parentheses, and may hold anything.
    """
    fields = (_PROC / str(number) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    # Nobody may have asked yet for the exit status of one that has ended.
    return None if fields[0] in ("Z", "X") else fields[19]
