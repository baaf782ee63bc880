"""The people: those of the process tests, who are stricter here.

Within one connection, nobody hears a message of somebody else twice, nor one before an earlier one of the same sender,
unless it was told of a gap, or that message was refused and sent again. (Of its own messages a sender may hear an echo
besides: it sends again what it does not know the end of.)
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from tests.support.contract import Message, sample
from tests.support.peers import GAP, MISSED, Guest, Peer, Session, Talker


class Witness(Peer):
    """Notes what must not be."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.wrong: list[str] = []
        self.told: Callable[[str, str], None] = lambda name, text: None  # called with all that it hears
        self._heard_in: Session | None = None
        self._ids: set[str] = set()
        self._latest: dict[str, int] = {}  # by sender
        self._is_told_of_gap = False

    def _receive(self, session: Session, frame: str | bytes) -> None:
        super()._receive(session, frame)
        self.told(f"{self.name}/{self.sessions}", str(frame))
        if session is not self._heard_in:
            self._heard_in, self._ids, self._latest, self._is_told_of_gap = session, set(), {}, False
        message = json.loads(frame)
        if message["type"] == "uncompliant":
            self._is_told_of_gap |= GAP in message["reason"] or MISSED in message["reason"]
        elif message["id"] in self._ledger.sent:
            self._check(message["id"])

    def _check(self, id: str) -> None:
        sent = self._ledger.sent[id]
        if sent.sender == self.name:
            return
        if id in self._ids:
            self.wrong.append(
                f"{self.name} heard {sent.sender} {sent.number} {id[:8]} twice in connection {self.sessions}"
            )
        elif (
            sent.number < self._latest.get(sent.sender, 0)
            and not self._is_told_of_gap
            and id not in self._ledger.may_be_late
        ):
            self.wrong.append(
                f"{self.name} heard {sent.sender} {sent.number} {id[:8]} late in connection {self.sessions}"
            )
        self._ids.add(id)
        self._latest[sent.sender] = max(sent.number, self._latest.get(sent.sender, 0))


class Watcher(Witness):
    """Only hears."""


class Speaker(Witness, Talker):
    """Sends bursts of texts, now and then a photo, a position or a layer; also just before something goes wrong."""

    startled: asyncio.Event

    async def talk(self, until: Callable[[], bool]) -> None:
        while not until():
            await self.say(self._dice.randint(1, self.longest_burst))
            pause = self._dice.random() * self.pause
            if not until():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self.startled.wait()

    def _message(self) -> Message:
        message = super()._message()
        if message["type"] == "text" and int(message["id"][0], 16) < 2:
            return sample("position", id=message["id"], author=self.name)
        if message["type"] == "image" and int(message["id"][0], 16) < 8:
            return sample("geojson", id=message["id"], author=self.name)
        return message


class Named(Witness, Guest):
    """Has a nickname."""
