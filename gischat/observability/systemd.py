"""Readiness notification to systemd, or to our supervisord (gischat/supervision/rolling.py)."""

import os
import socket
from contextlib import suppress


def ready() -> None:
    """Send READY=1 to NOTIFY_SOCKET, if it is set, by the protocol of sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name in Linux's abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier, suppress(OSError):
        notifier.setblocking(False)
        notifier.sendto(b"READY=1\nMAINPID=%d" % os.getpid(), address)
