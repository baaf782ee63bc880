"""Connections are accepted. When none can be, for want of descriptors or memory, the front goes on with those it has.

Tornado's own accept handler lets such an error through to the loop, which calls it again at once, without end: the
connection still waits to be accepted (accept(2): EMFILE).
"""

import contextlib
import logging
import resource
import socket
from collections.abc import Callable
from typing import Any

from tornado.ioloop import IOLoop

from gischat.front.limits.rejection_log import RejectionLog
from gischat.observability.metrics import RejectReason
from gischat.timings import Timings

log = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 64  # accepted before others have their turn
MAX_BACKLOG = 1024  # to be accepted; the queue of a listening socket is 128 long (tornado.netutil)


class Acceptor:
    """Accepts from a listening socket until it is stopped."""

    def __init__(
        self,
        listening: socket.socket,
        accepted: Callable[[socket.socket, Any], None],
        drops: RejectionLog,
        timings: Timings = Timings(),
    ) -> None:
        self._loop = IOLoop.current()
        self._socket = listening
        self._accepted = accepted
        self._drops = drops
        self._pause_seconds = timings.accept_pause
        self._pause: object | None = None
        self._listen()

    def stop(self) -> None:
        """Accepts those who have come, and then nobody; the socket is to be closed in the same turn of the loop.

        Who have come and are not accepted would be reset, though another front listens on the same port (SO_REUSEPORT).
        """
        if self._pause is None:
            self._accept_waiting(MAX_BACKLOG)  # or whoever comes without end would keep the front from stopping
        if self._pause is None:
            self._loop.remove_handler(self._socket)
        else:
            self._loop.remove_timeout(self._pause)
        self._accepted = _close

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_handler(self._socket, self._accept, IOLoop.READ)

    def _accept(self, _: socket.socket, events: int) -> None:
        self._accept_waiting(ACCEPTS_PER_TURN)

    def _accept_waiting(self, most: int) -> None:
        for _number in range(most):
            try:
                connection, address = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # it was gone before it was accepted
            except OSError as error:
                self._drops.record(
                    RejectReason.ACCEPT, "connections cannot be accepted for a moment: %s", error.strerror
                )
                self._loop.remove_handler(self._socket)
                self._pause = self._loop.call_later(self._pause_seconds, self._listen)
                return
            self._accepted(connection, address)


def raise_nofile_limit(number: int) -> None:
    """Raises this process' limit of open files to so many, or says that it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= number:
        return
    most = number if hard == resource.RLIM_INFINITY else min(number, hard)
    with contextlib.suppress(OSError, ValueError):  # the kernel may allow less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        log.warning("%d files may be open (ulimit -n, LimitNOFILE): too few for MAX_CONNECTIONS: docs/access.md", soft)


def _close(connection: socket.socket, _: Any) -> None:
    connection.close()
