"""A model of QField's QChat plugin (1.7), written from how it behaves: `docs/clients.md` has it in words."""

import json
from datetime import UTC, datetime
from typing import Any

from tests.clients.gui import GuiClient, get
from tests.support.contract import Message

DEFAULT_NICKNAME = "jd_NaN"  # everyone's: the plugin multiplies a function
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
        """The list to choose from; an answer that is no JSON leaves it empty, whatever its type or status."""
        channels: list[str] = json.loads(get(f"{self.server.strip()}/channels").body)
        return channels

    async def connect(self, channel: str) -> None:
        """Open the websocket and send `newcomer`, without an id and a timestamp."""
        server = self.server.strip()
        scheme = "wss" if server.startswith("https") else "ws"
        host = server.replace("https://", "").replace("http://", "")
        await self.open(f"{scheme}://{host}/channel/{channel.strip()}/ws")
        self.send(type="newcomer", newcomer=self.nickname)

    def say(self, text: str) -> None:
        """Send a text."""
        self.send(type="text", author=self.nickname, avatar=AVATAR, text=text)

    def send_map(self, png: str) -> None:
        """Send the map as a picture, which is always a PNG."""
        self.send(type="image", author=self.nickname, avatar=AVATAR, image_data=png)

    async def disconnect(self) -> None:
        """The button Disconnect: an `exiter`, and at once the close."""
        self.send(type="exiter", exiter=self.nickname)
        await self.close()

    async def shown(self, **conditions: Any) -> Message:
        """Wait for a message of the history with these values."""

        def matching() -> Message | None:
            return next((m for m in self.history if all(m.get(k) == v for k, v in conditions.items())), None)

        found: Message = await self.until(matching, f"{conditions} in the history")
        return found

    async def act(self, message: Message) -> None:
        """As the plugin: the types that it does not know pass by."""
        if message["type"] == "nb_users":
            self.title_users = message["nb_users"]
        elif message["type"] in SHOWN and message.get("text") not in FUN:
            self.history.append(message)


def shown_time(message: Message) -> datetime:
    """When a message is said to be: the plugin takes its seconds for milliseconds."""
    return datetime.fromtimestamp(message["timestamp"] / 1000, UTC)
