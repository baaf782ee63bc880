"""Process identities, by which another process on the same machine can tell whether one still runs."""

import os
import sys
from pathlib import Path

_PROC = Path("/proc")


def identity() -> str:
    """This process' identity: boot id and PID namespace, PID, and start time. Empty where they cannot be read.

    A container has a PID namespace of its own and so counts as a machine of its own.
    """
    if sys.platform != "linux":
        return ""
    try:
        return f"{_machine()} {os.getpid()} {_began(os.getpid())}"
    except OSError:
        return ""


def is_gone(other: str) -> bool:
    """Whether the process with that identity has ended; False if this cannot be determined here."""
    try:
        machine, number, began = other.split(" ")
        if machine != _machine() or not number.isdecimal():
            return False
    except (OSError, ValueError):
        return False
    try:
        return _began(int(number)) != began
    except OSError:  # ended, or hidden by a hardened service (hidepid, user namespaces)
        return not _exists(int(number))


def _exists(number: int) -> bool:
    """Whether a process with that PID exists; signal 0 is checked but never sent (kill(2))."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's process
        return True
    return True


def _machine() -> str:
    booted = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{booted}/{os.readlink(_PROC / 'self/ns/pid')}"


def _began(number: int) -> str | None:
    """A process' start time in ticks since boot, field 22 of proc_pid_stat(5); None if it has ended.

    The second field is the program's name in parentheses, which may contain anything.
    """
    fields = (_PROC / str(number) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    # Z, X: the process has ended, but its parent has not reaped it yet.
    return None if fields[0] in ("Z", "X") else fields[19]
