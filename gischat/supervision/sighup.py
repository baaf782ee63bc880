"""SIGHUP handler for supervisord: closing the terminal stops the chat, as it does other foreground programs.

supervisord's own handler would reload its configuration, restart everything and go on without a terminal. For a
reload there is `gischat ctl reload`. Under nohup, SIGHUP is ignored.
"""

import os
import signal
from typing import Any

from supervisor import events


def make_plugin(_: Any) -> object:
    """Install the handler. supervisord.conf names this function as an RPC interface, supervisord's plugin hook."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN

    def replace_handler(_: Any) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else _end)

    events.subscribe(events.SupervisorRunningEvent, replace_handler)  # after supervisord sets its own
    return object()


def _end(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
