"""Findings: the results of checks, worded for operators."""

from dataclasses import dataclass
from enum import StrEnum
from functools import partial


class Level(StrEnum):
    OK = "ok"
    UNKNOWN = "unseen"  # could not be checked, for lack of permission
    WARNING = "warning"  # works, but needs attention
    ERROR = "wrong"  # does not work, or loses messages


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `remedy` says what to do, and is empty if nothing needs to be done."""

    level: Level
    subject: str
    message: str
    remedy: str = ""


ok = partial(Finding, Level.OK)
undetermined = partial(Finding, Level.UNKNOWN)
warning = partial(Finding, Level.WARNING)
problem = partial(Finding, Level.ERROR)


def size(number: float) -> str:
    """Format a number of bytes: 1.3 GiB."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} GiB" if number < 1000 else f"{number:.0f} GiB"
