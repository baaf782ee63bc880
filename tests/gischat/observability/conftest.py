"""What stands where a service of others does, and processes of ours that do little."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.processes import HOST


def program(kind: str, *main: str) -> str:
    """The code of a process of ours of which these lines are all that it does."""
    lines = "\n    ".join(main)
    return f"""
import asyncio, sys, threading
from gischat.observability import process

async def main(settings, timings, stop):
    {lines}

sys.exit(process.run({kind!r}, main))
"""


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to it, whole."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.bodies: list[bytes] = []
        self.news = threading.Condition()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        with self.server.news:
            self.server.bodies.append(body)
            self.server.news.notify_all()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
