"""Tells whoever started this process that it is ready: systemd, or our supervisord (deploy/rolling.py)."""

import os
import socket
from contextlib import suppress


def ready() -> None:
    """Says so once, if anybody wants to know; the protocol is that of sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name in Linux' abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier, suppress(OSError):
        notifier.setblocking(False)
        notifier.sendto(b"READY=1\nMAINPID=%d" % os.getpid(), address)
