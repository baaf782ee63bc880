"""A receiver of outgoing hooks: it checks the signature as docs/hooks.md says, and answers as the test decides."""

import asyncio
import hashlib
import hmac
import json
import time
from typing import Any, NamedTuple, Self

from tests.support.processes import HOST, Port
from tests.support.waiting import until

SECRET = "a-secret-of-the-tests"


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def text(self) -> str:
        return str(self.body["message"]["text"])


class Receiver:
    """Listens on its own port. `answers` maps paths to raw answers, one for each post; afterwards it answers 204."""

    def __init__(self) -> None:
        self.port = Port()
        self.port.release()
        self.received: list[Received] = []
        self.refused: list[Received] = []  # posts that got one of `answers`
        self.answers: dict[str, list[bytes]] = {}
        self._server: asyncio.Server | None = None

    def url(self, path: str, host: str = HOST) -> str:
        return f"http://{host}:{self.port.number}{path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self.port.number)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def texts(self, path: str, number: int) -> list[str]:
        """Wait for `number` texts accepted at a path; return them in order of arrival."""
        await until(lambda: len([one for one in self.received if one.path == path]) >= number, f"{number} at {path}")
        return [one.text for one in self.received if one.path == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-1])}
        body = await reader.readexactly(int(headers["content-length"]))
        verify(headers, body)
        path = head[0].split()[1]
        received = Received(path, headers, json.loads(body))
        waiting = self.answers.get(path)
        if waiting:
            self.refused.append(received)
            writer.write(waiting.pop(0))
        else:
            self.received.append(received)
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()


def verify(headers: dict[str, str], body: bytes) -> None:
    timestamp = headers["x-gischat-timestamp"]
    assert abs(time.time() - int(timestamp)) < 300
    expected = hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(headers["x-gischat-signature"], f"sha256={expected}")
    assert headers["x-gischat-id"] == json.loads(body)["message"]["id"]


def answer(status: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "Content-Length: 0", "", ""]).encode()
