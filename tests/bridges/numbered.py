"""Messages of all types, each with a number by which receivers identify it."""

import json
import re
from typing import Any, NamedTuple

from tests.support.contract import BROADCAST, Message
from tests.support.layers import feature, layer, point
from tests.support.peers import Guest, Talker
from tests.support.pictures import as_base64, encoded, opened, quarters

WGS_84 = {"crs_wkt": "", "crs_authid": "EPSG:4326"}
LAYER = layer([feature(point(2.5, 48.5))])
FILES = {  # files sent on Matrix, by type: extension and content
    "geojson": (".geojson", json.dumps(LAYER).encode()),
    "model": (".model3", b"<!DOCTYPE model><model/>"),
    "script": (".py", b"print(1)\n"),
}


class Heard(NamedTuple):
    """What identifies a received message; each type carries the number in its own way."""

    author: str
    type: str
    number: int


def fields(type: str, number: int) -> dict[str, Any]:
    """The fields that give a client's message its number."""
    name = f"no-{number}"
    return {
        "text": {"text": name},
        "image": {"image_data": as_base64(picture(number))},
        "geojson": {**WGS_84, "layer_name": name, "geojson": LAYER},
        "crs": {"crs_wkt": f'PROJCS["{name}"]', "crs_authid": ""},
        "bbox": {**WGS_84, "xmin": number, "ymin": 1, "xmax": number + 1, "ymax": 2},
        "position": {**WGS_84, "x": number, "y": 46},
        "model": {"model_name": name},
        "script": {"name": name},
    }[type]


def picture(number: int) -> bytes:
    return encoded(quarters(100 + number, 50), "PNG")


def heard_in_channel(message: Message) -> Heard:
    if message["type"] == "image":
        number = opened(message["image_data"]).width - 100
    elif message["type"] in ("bbox", "position"):
        number = int(message.get("x", message.get("xmin")))
    else:
        named = ("text", "layer_name", "crs_wkt", "model_name", "name")
        number = _number(" ".join(message[key] for key in named if key in message))
    return Heard(message["author"], message["type"], number)


def heard_in_room(content: dict[str, Any]) -> Heard:
    own, body = content["org.gischat"], content["body"]
    assert body.startswith(f"{own['author']}: "), body
    return Heard(own["author"], own["type"], content["info"]["w"] - 100 if own["type"] == "image" else _number(body))


def _number(words: str) -> int:
    found = re.search(r"(?:no-|a position, |a map extent, )(\d+)", words)
    assert found, words
    return int(found[1])


class Person(Guest, Talker):
    """A QGIS client that reconnects whenever its connection ends."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.heard: list[Heard] = []
        self.messages: dict[int, Message] = {}  # by number
        self.likes: list[tuple[str, str]] = []  # liker and text

    def hear(self, message: Message) -> None:
        super().hear(message)
        if message["type"] in BROADCAST:
            self.heard.append(heard_in_channel(message))
            self.messages[self.heard[-1].number] = message
        elif message["type"] == "like":
            assert message["liked_author"] == self.name
            self.likes.append((message["liker_author"], message["message"]))
