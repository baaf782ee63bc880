"""A model of QGIS with the QChat plugin (1.7), written from its behaviour, which `docs/clients.md` describes.

It fails where the plugin fails, and shows nothing where the plugin shows nothing.
"""

import asyncio
import base64
import json
import time
import uuid
from dataclasses import field, make_dataclass
from pathlib import PurePosixPath
from typing import Any

from tests.clients.gui import GuiClient, Reply, Unusable, get
from tests.support.contract import BROADCAST, KEYS, REPLYABLE, Message

QUERY = "utm_source=QGIS&utm_medium=QChat&utm_campaign=plugin_1.7.0"
TEMP = PurePosixPath("/tmp")


def _form(type_: str) -> type:
    """The strict dataclass of a type: a missing key and an unknown one both raise TypeError."""
    required = [(key, Any) for key in ("type", "id", "timestamp", *sorted(KEYS[type_]))]
    optional = [("in_reply_to_id", Any, field(default=None))] if type_ in REPLYABLE else []
    return make_dataclass(type_, [*required, *optional], frozen=True)


FORMS = {type_: _form(type_) for type_ in KEYS}


class QChat(GuiClient):
    """One QGIS with the plugin's dock.

    What it shows: `channels`, `red_bars` (reasons of `uncompliant`), `rows` (messages), `title_users`, `completions`
    (nicknames that the input field completes), `liked`.
    """

    def __init__(self, instance: str, nickname: str, *, disk: dict[str, Reply] | None = None) -> None:
        """
        Args:
            instance: the address as typed into the settings.
            disk: QGIS' cache, which outlives it.
        """
        super().__init__()
        self.instance = instance
        self.nickname = nickname
        self.disk = {} if disk is None else disk
        self.channel = ""
        self.red_bars: list[str] = []
        self.rows: list[Any] = []
        self.title_users = 0
        self.completions: list[str] = []
        self.liked: list[str] = []

    # --- over HTTP ---

    def fetch(self, path: str, *, cached: bool = False) -> Any:
        """The result of a GET of the plugin, which blocks.

        Raises:
            Unusable: the plugin shows an error and has no result.
        """
        url = f"{self.instance}{path}?{QUERY}"
        if cached and url in self.disk:
            reply = self.disk[url]  # of any age: QGIS prefers its cache unless the answer said no-store
        else:
            reply = get(url)
            if "no-store" not in dict(reply.headers).get("Cache-Control", ""):
                self.disk[url] = reply
        if reply.status != 200:
            raise Unusable(f"{url}: status {reply.status}")
        if reply.content_type != "application/json":
            raise Unusable(f"{url}: Content-Type is {reply.content_type!r}, not 'application/json'")
        return json.loads(reply.body.decode())

    def open_dock(self) -> list[str]:
        """Make the requests of an opening dock; return the channels that it lists."""
        rules = self.fetch("/rules", cached=True)
        assert rules["min_author_length"] <= len(self.nickname) <= rules["max_author_length"]
        channels: list[str] = self.fetch("/channels", cached=True)
        return channels

    def rules(self) -> str:
        """What the button Rules shows."""
        rules = self.fetch("/rules", cached=True)
        keys = ("rules", "main_lang", "max_message_length", "min_author_length", "max_author_length")
        return " ".join(str(rules[key]) for key in keys)

    def status(self) -> dict[str, int]:
        """What the button Status shows: the number of users in each channel."""
        status = self.fetch("/status")
        assert status["status"] == "ok"
        return {channel["name"]: channel["nb_connected_users"] for channel in status["channels"]}

    def users(self) -> list[str]:
        """What the button List users shows."""
        users: list[str] = self.fetch(f"/channel/{self.channel}/users")
        return users

    # --- over the websocket ---

    async def connect(self, channel: str) -> None:
        """Choose a channel: the plugin opens the websocket and sends `newcomer`, once."""
        self.channel = channel
        scheme, domain = self.instance.split("://")
        await self.open(f"{'wss' if scheme == 'https' else 'ws'}://{domain}/channel/{channel}/ws")
        self.register()

    def register(self) -> None:
        """Send `newcomer`. After a lost connection, the plugin sends it several times on the next one."""
        self.send_message("newcomer", newcomer=self.nickname)

    def say(self, text: str) -> None:
        """Send a text."""
        self.send_message("text", author=self.nickname, avatar="mGeoPackage.svg", text=text, in_reply_to_id=None)

    def send_message(self, type_: str, **values: Any) -> str:
        """Send a message of the type with an id and a timestamp of its own; return the id."""
        message_id = str(uuid.uuid4())
        self.send(type=type_, id=message_id, timestamp=int(time.time()), **values)
        return message_id

    async def row(self, **conditions: Any) -> Any:
        """Wait for a row with these values."""

        def matching() -> Any:
            return next((r for r in self.rows if all(getattr(r, k, None) == v for k, v in conditions.items())), None)

        return await self.until(matching, f"a row with {conditions}")

    async def red_bar(self) -> str:
        """Wait for the first red bar that was not yet returned."""
        await self.until(lambda: self.red_bars, "a red bar")
        return self.red_bars.pop(0)

    async def act(self, message: Message) -> None:
        """Handle a message as the plugin does; raises where its dataclasses fail."""
        form = FORMS.get(message["type"])
        if form is None:
            return
        shown = form(**message)
        if shown.type in BROADCAST:
            _show(shown)
            self.rows.append(shown)
        elif shown.type == "uncompliant":
            self.red_bars.append(shown.reason)
        elif shown.type == "like":
            self.liked.append(shown.message)
        elif shown.type == "nb_users":
            self.title_users = shown.nb_users
            # Blocking: until the answer arrives, nothing is read and no ping answered.
            users = await asyncio.to_thread(self.users)
            self.completions = [user for user in users if user != self.nickname]


def _show(shown: Any) -> None:
    """Read what a message's row shows."""
    assert type(shown.timestamp) is int
    assert 0 < shown.timestamp < 2**32, f"{shown.timestamp!r} are no seconds"
    if shown.type == "image":
        base64.b64decode(shown.image_data, validate=True)
    elif shown.type == "geojson":
        len(shown.geojson["features"])


def written(shown: Any) -> list[PurePosixPath]:
    """The files that the plugin writes when the user clicks on the row of a layer, model or script.

    It inserts the name into a path unchanged: `../x` leads to another directory, an absolute path replaces it.
    """
    names = {
        "geojson": lambda: [f"{shown.layer_name}.geojson", f"{shown.layer_name}_style.qml"],
        "model": lambda: [f"{shown.model_name}.model3"],
        "script": lambda: [f"{shown.name}.py"],
    }[shown.type]()
    return [TEMP / name for name in names]
