"""A model of QField's QChat plugin (1.7), written from its behaviour, which `docs/clients.md` describes."""

import json
from datetime import UTC, datetime
from typing import Any

from tests.clients.gui import GuiClient, get
from tests.support.contract import Message

DEFAULT_NICKNAME = "jd_NaN"  # the same for all: the plugin multiplies a function
SHOWN = ("text", "image", "position", "bbox")
FUN = ("givemesomecheese", "lookattheflickofqgis", "iamarobot", "its10oclock", "qgisprolicense", "wizz", "spaceandtime")
AVATAR = "mIconXyz.svg"


class QField(GuiClient):
    """One QField.

    What it shows: `history` (messages), `title_users`. No `uncompliant`, no close reason, no layer.
    """

    def __init__(self, server: str, nickname: str = DEFAULT_NICKNAME) -> None:
        """
        Args:
            server: the address as typed.
        """
        super().__init__()
        self.server = server
        self.nickname = nickname
        self.history: list[Message] = []
        self.title_users = 0

    def channels(self) -> list[str]:
        """The channels to choose from; none if the answer is not JSON, whatever its type or status."""
        channels: list[str] = json.loads(get(f"{self.server.strip()}/channels").body)
        return channels

    async def connect(self, channel: str) -> None:
        """Open the websocket and send `newcomer`, without `id` and `timestamp`."""
        server = self.server.strip()
        scheme = "wss" if server.startswith("https") else "ws"
        host = server.replace("https://", "").replace("http://", "")
        await self.open(f"{scheme}://{host}/channel/{channel.strip()}/ws")
        self.send(type="newcomer", newcomer=self.nickname)

    def say(self, text: str) -> None:
        """Send a text."""
        self.send(type="text", author=self.nickname, avatar=AVATAR, text=text)

    def send_map(self, png: str) -> None:
        """Send the map as a picture, always a PNG."""
        self.send(type="image", author=self.nickname, avatar=AVATAR, image_data=png)

    async def disconnect(self) -> None:
        """The button Disconnect: send `exiter`, and close at once."""
        self.send(type="exiter", exiter=self.nickname)
        await self.close()

    async def shown(self, **conditions: Any) -> Message:
        """Wait for a message with these values in the history."""

        def matching() -> Message | None:
            return next((m for m in self.history if all(m.get(k) == v for k, v in conditions.items())), None)

        found: Message = await self.until(matching, f"{conditions} in the history")
        return found

    async def act(self, message: Message) -> None:
        """Handle a message as the plugin does; it ignores unknown types."""
        if message["type"] == "nb_users":
            self.title_users = message["nb_users"]
        elif message["type"] in SHOWN and message.get("text") not in FUN:
            self.history.append(message)


def shown_time(message: Message) -> datetime:
    """The time that is shown for a message: the plugin interprets its seconds as milliseconds."""
    return datetime.fromtimestamp(message["timestamp"] / 1000, UTC)
