"""The ping: forwards texts with a prefix, from any channel, to one Matrix room."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gischat.bridges.base import Bridge
from gischat.bridges.errors import Rejected
from gischat.bridges.matrix.client import MatrixClient
from gischat.bridges.matrix.outgoing import notice, outgoing
from gischat.bridges.participant import Participant
from gischat.broker.entries import Publication
from gischat.settings import Settings
from gischat.timings import Timings


class MatrixPing(Bridge):
    """Forwards texts with a prefix, from any channel, to one room."""

    kind = "ping"

    def __init__(self, participant: Participant, settings: Settings, timings: Timings) -> None:
        super().__init__(participant, settings, timings)
        self._client = MatrixClient(settings.matrix_ping_homeserver, settings.matrix_ping_token, timings)
        self._room = settings.matrix_ping_roomid

    @staticmethod
    def channels_of(settings: Settings) -> Sequence[str]:
        return settings.channels if settings.matrix_ping_roomid else ()

    async def connect(self) -> None:
        with contextlib.suppress(Rejected):  # it may be in the room, but not permitted to join
            self._room = await self._client.join(self.settings.matrix_ping_roomid)

    async def receive(self) -> None:
        await self.until_stopped(asyncio.sleep(3600))

    async def send(self, channel: str, message: Mapping[str, Any]) -> Sequence[str]:
        made = outgoing(message, None, "")
        made.content["body"] += f" ({channel})"
        made.content["formatted_body"] += f" <em>({channel})</em>"
        return [await self._client.send(self._room, "m.room.message", f"gischat-ping-{message['id']}", made.content)]

    async def send_like(self, channel: str, liker: str, event: str) -> None:
        """Ignore likes."""

    async def delete(self, channel: str, event: str) -> None:
        await self._client.redact(self._room, event, f"gischat-delete-{event}")

    async def tell(self, channel: str, words: str, reply_to: str = "") -> None:
        await self._client.send(self._room, "m.room.message", f"gischat-notice-{time.time_ns()}", notice(words))

    def wants(self, publication: Publication) -> bool:
        if publication.type != "text":
            return False
        text: str = msgspec.json.decode(publication.body)["text"]
        return text.lstrip().startswith(self.settings.matrix_ping_message_prefix)
