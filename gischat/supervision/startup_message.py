"""Start-up message: prints the chat's address once it works. The launcher starts this process beside supervisord."""

import os
import socket
import sys
import time
from contextlib import closing

from gischat.protocol.types import LANES
from gischat.settings import LOOPBACK, Settings, load
from gischat.supervision.health import lacking, url
from gischat.supervision.notices import tell

PATIENCE_SECONDS = 15  # until it says what is still missing
POLL_SECONDS = 0.2
OUTSIDE = "192.0.2.1"  # TEST-NET-1 (RFC 5737), assigned to no machine


def main(supervisord: int) -> None:
    """Wait until the chat works and print the message; stop if supervisord, our parent with that PID, has exited."""
    settings = load()
    if not settings.fronts or _works(settings, supervisord):
        tell(settings, _headline(settings))
        if reach := _reach(settings):
            tell(settings, reach)


def _works(settings: Settings, supervisord: int) -> bool:
    """Wait until the chat works; False if supervisord has exited."""
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
        *(_counted(settings.workers_of(lane), f"{lane} worker") for lane in LANES),
        *([_counted(settings.bridges, "bridge")] if settings.bridges else []),
    ]
    return f"{where} — {', '.join(numbers)} (Ctrl-C stops)"


def _reach(settings: Settings) -> str | None:
    """The address for other machines; None if the chat listens only on this one."""
    if not settings.fronts or settings.host not in LOOPBACK:
        return None
    address = _own_address()
    if address is None:
        return None
    private = {channel for channel, _ in settings.channel_tokens}
    if private.issuperset(settings.channels):
        return f"others on your network reach it at http://{address}:{settings.port}/"
    return (
        f"anybody on your network can join at http://{address}:{settings.port}/"
        " (HOST=127.0.0.1 keeps it to this machine, CHANNEL_TOKENS closes channels)"
    )


def _own_address() -> str | None:
    """This machine's address towards others; connecting a UDP socket sends no packet."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect((OUTSIDE, 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return None if address.startswith("127.") else address


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


if __name__ == "__main__":
    main(int(sys.argv[1]))
