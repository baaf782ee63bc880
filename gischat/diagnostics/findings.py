"""What a check has found, in an operator's words."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    UNKNOWN = "unseen"  # not allowed to look; it may be well or not
    WARNING = "warning"  # it runs, and there is something to know
    ERROR = "wrong"  # it does not run, or loses messages


@dataclass(frozen=True, slots=True)
class Finding:
    """One line, and what to do about it: `remedy` is empty where there is nothing to do."""

    level: Level
    subject: str
    message: str
    remedy: str = ""


def ok(subject: str, says: str) -> Finding:
    return Finding(Level.OK, subject, says)


def undetermined(subject: str, says: str, remedy: str = "") -> Finding:
    return Finding(Level.UNKNOWN, subject, says, remedy)


def warning(subject: str, says: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, subject, says, remedy)


def problem(subject: str, says: str, remedy: str) -> Finding:
    return Finding(Level.ERROR, subject, says, remedy)


def size(number: float) -> str:
    """Bytes as people say them: 1.3 GiB."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} GiB" if number < 1000 else f"{number:.0f} GiB"
