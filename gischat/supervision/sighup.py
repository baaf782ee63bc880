"""A closed terminal ends the chat, as it ends other programs that run in the foreground.

supervisord takes the terminal's SIGHUP for "read your configuration and start everything anew", and would then
go on with nobody at the other end. `gischat ctl reload` does that on demand. Under nohup a hangup is ignored.
"""

import os
import signal
from typing import Any

from supervisor import events


def make_plugin(_: Any) -> object:
    """Named in supervisord.conf as an RPC interface, which is how supervisord lets plugins in; it has no calls."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN

    def replace_handler(_: Any) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else _end)

    events.subscribe(events.SupervisorRunningEvent, replace_handler)  # supervisord's own handlers stand by then
    return object()


def _end(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
