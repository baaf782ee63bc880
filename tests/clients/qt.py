"""Real Qt in a separate process, since it has its own event loop, which tests may block."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.support.client import DEADLINE
from tests.support.contract import Message

Event = dict[str, Any]


class QtReply(NamedTuple):
    """The answer to QNetworkAccessManager; `error` is empty if Qt considers it a success."""

    status: int | None
    content_type: str
    body: str
    error: str


class Qt:
    """A client in the process; `open`, `send` and `close` control its QWebSocket, `until` waits for its events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines = reader
        self._writer = writer
        self._events: list[Event] = []
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, path: Path) -> Self:
        """Create a client in the process that listens on the socket."""
        qt = cls(*await asyncio.open_unix_connection(path, limit=1 << 26))
        await qt.until(event="ready")
        return qt

    def do(self, verb: str, **arguments: Any) -> None:
        """Queue a command for its event loop."""
        self._writer.write(json.dumps([verb, arguments]).encode() + b"\n")

    async def open(self, url: str) -> None:
        """Open the QWebSocket; QUrl interprets the address."""
        self.do("open", url=url)
        await self.until(event="connected")

    def send(self, **message: Any) -> None:
        self.do("send", text=json.dumps(message))

    async def get(self, url: str, **headers: str) -> QtReply:
        self.do("get", url=url, headers={name.replace("_", "-"): value for name, value in headers.items()})
        reply = await self.until(event="reply")
        return QtReply(reply["status"], reply["content_type"], reply["body"], reply["error"])

    async def until(self, **conditions: Any) -> Event:
        """Return the first event with these values, already received or not."""
        return await self._wait_for(lambda event: conditions.items() <= event.items(), str(conditions))

    async def message(self, **conditions: Any) -> Message:
        """Return the first message with these values, already received or not."""

        def matches(event: Event) -> bool:
            return event["event"] == "text" and conditions.items() <= json.loads(event["text"]).items()

        message: Message = json.loads((await self._wait_for(matches, f"a message with {conditions}"))["text"])
        return message

    async def close(self) -> None:
        self._writer.write_eof()
        await self._reader
        self._writer.close()

    async def _wait_for(self, matches: Callable[[Event], bool], what: str) -> Event:
        def found() -> Event | None:
            return next((event for event in self._events if matches(event)), None)

        try:
            async with asyncio.timeout(DEADLINE):
                while (event := found()) is None:
                    assert not self._reader.done(), f"Qt's process ended, waiting for {what}"
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"waited {DEADLINE} s for {what}; Qt told {self._events!r:.1000}") from None
        self._events.remove(event)
        return event

    async def _read(self) -> None:
        while line := await self._lines.readline():
            self._events.append(json.loads(line))
            self._news.set()
        self._news.set()
