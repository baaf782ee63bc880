"""Says in one line where the chat is, once it is there. The launcher leaves it running beside supervisord."""

import os
import sys
import time

from deploy.health import lacking, url
from deploy.notices import tell
from gischat.settings import Settings, load

PATIENCE_SECONDS = 15  # before it says what is still missing
POLL_SECONDS = 0.2


def main(supervisord: int) -> None:
    """Waits until the chat works, or until supervisord, our parent of that process id, has gone."""
    settings = load()
    if not settings.fronts or _works(settings, supervisord):
        tell(settings, _headline(settings))


def _works(settings: Settings, supervisord: int) -> bool:
    """Waits until it does; False when it never will, since it was ended meanwhile."""
    patience_ends = time.monotonic() + PATIENCE_SECONDS
    while lack := lacking(settings.host, settings.port):
        if os.getppid() != supervisord:
            return False
        if time.monotonic() > patience_ends:
            tell(settings, f"still waiting: {lack}")
            patience_ends = float("inf")
        time.sleep(POLL_SECONDS)
    return True


def _headline(settings: Settings) -> str:
    where = url(settings.host, settings.port) if settings.fronts else "no front here"
    numbers = [
        _counted(settings.fronts, "front"),
        _counted(settings.light_workers, "light worker"),
        _counted(settings.heavy_workers, "heavy worker"),
    ]
    return f"{where} — {', '.join(numbers)} (Ctrl-C stops)"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


if __name__ == "__main__":
    main(int(sys.argv[1]))
