"""The acceptor of a listening socket. When file descriptors or memory run out, it pauses, and open connections go on.

Tornado's own accept handler passes such an error on to the loop, which calls the handler again at once and without end,
because the connection still waits to be accepted (accept(2): EMFILE).
"""

import logging
import socket
from collections.abc import Callable
from typing import Any

from tornado.ioloop import IOLoop

from gischat.front.limits.rejection_log import RejectionLog
from gischat.observability.metrics import RejectReason
from gischat.open_files import raise_limit
from gischat.timings import Timings

log = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 64  # connections accepted in one turn of the event loop
MAX_BACKLOG = 1024  # accepted on shutdown; the listen queue's length is 128 (tornado.netutil)


class Acceptor:
    """Accepts connections from a listening socket until it is stopped."""

    def __init__(
        self,
        listening: socket.socket,
        accepted: Callable[[socket.socket, Any], None],
        rejections: RejectionLog,
        timings: Timings = Timings(),
    ) -> None:
        self._loop = IOLoop.current()
        self._socket = listening
        self._accepted = accepted
        self._rejections = rejections
        self._pause_seconds = timings.accept_pause
        self._pause: object | None = None
        self._listen()

    def stop(self) -> None:
        """Accept waiting connections, then no more; the caller closes the socket in the same turn of the loop.

        Otherwise the kernel would reset them, although another front listens on the same port (SO_REUSEPORT).
        """
        if self._pause is None:
            self._accept_waiting(MAX_BACKLOG)  # bounded, so that a flood of connections cannot delay the shutdown
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

    def _accept_waiting(self, number: int) -> None:
        for _ in range(number):
            try:
                connection, address = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # the client closed it before it was accepted
            except OSError as error:
                self._rejections.record(
                    RejectReason.ACCEPT, "connections cannot be accepted for a moment: %s", error.strerror
                )
                self._loop.remove_handler(self._socket)
                self._pause = self._loop.call_later(self._pause_seconds, self._listen)
                return
            self._accepted(connection, address)


def raise_nofile_limit(number: int) -> None:
    """Raise this process' limit of open files to `number`; log a warning if the system does not permit it."""
    limit = raise_limit(number)
    if limit < number:
        log.warning("%d files may be open (ulimit -n, LimitNOFILE): too few for MAX_CONNECTIONS: docs/access.md", limit)


def _close(connection: socket.socket, _: Any) -> None:
    connection.close()
