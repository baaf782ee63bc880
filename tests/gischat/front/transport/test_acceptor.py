"""Accepting connections, and the limit of open files."""

import asyncio
import errno
import os
import socket
import subprocess
import sys
from typing import Any

import pytest

from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.transport.acceptor import MAX_BACKLOG, Acceptor
from gischat.timings import Timings
from tests.support.waiting import DEADLINE

ALLOW = """
import logging, resource, sys
from gischat.front.transport.acceptor import raise_nofile_limit
logging.basicConfig(format="%(message)s", stream=sys.stdout)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
raise_nofile_limit(int(sys.argv[1]))
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (150, ["(150, 200)"]),
        (5000, ["200 files may be open (ulimit -n, LimitNOFILE): too few for MAX_CONNECTIONS", "(200, 200)"]),
    ],
)
def test_the_limit_of_open_files_is_raised_as_far_as_allowed(wanted: int, said: list[str]) -> None:
    ran = subprocess.run([sys.executable, "-c", ALLOW, str(wanted)], capture_output=True, text=True, check=True)
    assert len(ran.stdout.splitlines()) == len(said)
    assert all(line.startswith(words) for line, words in zip(ran.stdout.splitlines(), said, strict=True))


class Listening:
    """A listening socket whose `accept` fails as often as the test decides."""

    def __init__(self, failures: int, number: int) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self._failures = failures
        self._number = number

    def fileno(self) -> int:
        return self.socket.fileno()

    def accept(self) -> Any:
        if self._failures:
            self._failures -= 1
            raise OSError(self._number, os.strerror(self._number))
        return self.socket.accept()


async def test_a_connection_that_is_already_closed_does_not_prevent_others() -> None:
    listening = Listening(1, errno.ECONNABORTED)
    accepted: list[socket.socket] = []
    acceptor = Acceptor(listening, lambda one, _: accepted.append(one), RejectionLog())  # type: ignore[arg-type]
    client = socket.create_connection(listening.socket.getsockname())
    acceptor.stop()
    assert len(accepted) == 1
    for one in (client, *accepted, listening.socket):
        one.close()


async def test_continuous_connections_do_not_prevent_the_shutdown() -> None:
    listening = Listening(0, 0)
    accepted: list[socket.socket] = []
    clients = [socket.create_connection(listening.socket.getsockname())]

    def one_goes_and_the_next_comes(one: socket.socket, _: Any) -> None:
        accepted.append(one)
        clients.pop().close()
        one.close()
        assert len(accepted) <= MAX_BACKLOG
        clients.append(socket.create_connection(listening.socket.getsockname()))

    acceptor = Acceptor(listening, one_goes_and_the_next_comes, RejectionLog())  # type: ignore[arg-type]
    acceptor.stop()
    assert len(accepted) == MAX_BACKLOG
    for one in (*clients, listening.socket):
        one.close()


async def test_an_acceptor_stopped_during_a_pause_does_not_continue() -> None:
    listening, rejections = Listening(1, errno.EMFILE), RejectionLog()
    accepted: list[socket.socket] = []
    pause = Timings(accept_pause=0.0)  # ends in the next turn of the loop
    acceptor = Acceptor(listening, lambda one, _: accepted.append(one), rejections, pause)  # type: ignore[arg-type]
    client = socket.create_connection(listening.socket.getsockname())
    async with asyncio.timeout(DEADLINE):
        while not rejections.counts:
            await asyncio.sleep(0)
    # When it is stopped before the next attempt, then there is none
    acceptor.stop()
    for _ in range(20):
        await asyncio.sleep(0)
    assert accepted == []
    client.close()
    listening.socket.close()
