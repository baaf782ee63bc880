"""A reader of server-sent events: the real `curl -N`."""

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from typing import Any, NamedTuple, Self

from tests.support.contract import check
from tests.support.waiting import DEADLINE


class Event(NamedTuple):
    """What a browser would be told of one event."""

    type: str
    id: str
    data: Any  # the message
    retry: str


class EventsReader:
    """One `curl -N`: `head` is what it was answered, `received` are the events so far."""

    def __init__(self, process: Process) -> None:
        self.head = ""
        self.received: list[Event] = []
        self.keep_alives = 0
        self._process = process

    @classmethod
    async def open(cls, url: str, *arguments: str) -> Self:
        """Ask for the stream, and wait for the answer's headers."""
        command = ["curl", "--silent", "--no-buffer", "--include", *arguments, url]
        reader = cls(await asyncio.create_subprocess_exec(*command, stdout=PIPE, limit=2**24))
        while line := await reader._line():
            reader.head += line + "\n"
        return reader

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    async def next(self) -> Event | None:
        """The next event; None when the stream has ended."""
        fields = {"event": "", "id": "", "data": "", "retry": ""}
        while (line := await self._line()) is not None:
            if line.startswith(":"):
                self.keep_alives += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif any(fields.values()):
                data = json.loads(fields["data"]) if fields["data"] else None
                if data is not None:
                    check(data)
                self.received.append(Event(fields["event"], fields["id"], data, fields["retry"]))
                return self.received[-1]
        return None

    async def until(self, **conditions: Any) -> Event:
        """The next event whose message has these values; those before it are skipped."""
        while (event := await self.next()) is not None:
            if event.data is not None and conditions.items() <= event.data.items():
                return event
        raise AssertionError(f"the stream ended before {conditions}")

    async def rest(self) -> list[Event]:
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events

    async def body(self) -> Any:
        """The JSON of an answer that is no stream."""
        assert self._process.stdout is not None
        return json.loads(await asyncio.wait_for(self._process.stdout.read(), DEADLINE))

    @property
    def texts(self) -> list[str]:
        return [event.data["text"] for event in self.received if event.type == "text"]

    async def leave(self) -> None:
        """End curl, if it has not ended."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _line(self) -> str | None:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), DEADLINE)
        return line.decode().rstrip("\r\n") if line else None
