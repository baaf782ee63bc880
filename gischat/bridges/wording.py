"""Messages for chats without maps: as text, and as files. Pure."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

LIKE = "👍"
PRESENCE_TEXTS = {"newcomer": "{} has joined the channel.", "exiter": "{} has left the channel."}

_PICTURES = ((b"\xff\xd8", "image/jpeg", "jpg"), (b"\x89PNG", "image/png", "png"))  # the formats that workers make


@dataclass(frozen=True, slots=True)
class File:
    """A message as a file."""

    data: bytes
    content_type: str
    name: str


def words(message: Mapping[str, Any]) -> str:
    """The text of a message, to follow its author's name; for joining and leaving a whole sentence."""
    type = message["type"]
    if type in PRESENCE_TEXTS:
        return PRESENCE_TEXTS[type].format(message[type])
    return _WORDS.get(type, _other)(message)


def file_of(message: Mapping[str, Any]) -> File | None:
    """The file of a message, if its type has one."""
    make = _FILES.get(message["type"])
    return None if make is None else make(message)


def _layer_words(message: Mapping[str, Any]) -> str:
    features = message["geojson"].get("features") or ()
    number = f"{len(features)} feature{'' if len(features) == 1 else 's'}"
    return f"the layer {message['layer_name']} ({number}, {message['crs_authid'] or 'its own CRS'})"


def _position_words(message: Mapping[str, Any]) -> str:
    return f"a position, {message['x']:.12g} {message['y']:.12g} ({_crs_name(message)})"


def _extent_words(message: Mapping[str, Any]) -> str:
    sides = " ".join(f"{message[side]:.12g}" for side in ("xmin", "ymin", "xmax", "ymax"))
    return f"a map extent, {sides} ({_crs_name(message)})"


def _crs_name(message: Mapping[str, Any]) -> str:
    """The code of a CRS, or else the name in its definition."""
    if message["crs_authid"]:
        return str(message["crs_authid"])
    _, _, behind = message["crs_wkt"].partition('"')
    return behind.partition('"')[0] or "CRS unknown"


def _other(message: Mapping[str, Any]) -> str:
    return f"a {message['type']}, which can be seen in the channel alone"


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "text": lambda message: message["text"],
    "image": lambda _: "a picture",
    "geojson": _layer_words,
    "crs": lambda message: f"the coordinate reference system {_crs_name(message)}",
    "position": _position_words,
    "bbox": _extent_words,
    "model": lambda message: f"the processing model {message['model_name']}",
    "script": lambda message: f"the script {message['name'].removesuffix('.py')}",
}


def _picture(message: Mapping[str, Any]) -> File:
    data = base64.b64decode(message["image_data"])
    known = (kind for beginning, *kind in _PICTURES if data.startswith(beginning))
    content_type, ending = next(known, ("application/octet-stream", "bin"))
    return File(data, content_type, f"{message['author']}.{ending}")


def _layer(message: Mapping[str, Any]) -> File:
    document = {**message["geojson"]}
    if message["crs_authid"] and message["crs_authid"] != "EPSG:4326":
        # GDAL reads this member, which RFC 7946 §4 has dropped; without it the coordinates would be taken for degrees.
        authority, _, code = message["crs_authid"].partition(":")
        urn = f"urn:ogc:def:crs:{authority}::{code}"
        document["crs"] = {"type": "name", "properties": {"name": urn}}
    return File(msgspec.json.encode(document), "application/geo+json", f"{message['layer_name']}.geojson")


def _model(message: Mapping[str, Any]) -> File:
    return File(message["raw_xml"].encode(), "application/xml", f"{message['model_name']}.model3")


def _script(message: Mapping[str, Any]) -> File:
    return File(message["raw_pycode"].encode(), "text/x-python", f"{message['name'].removesuffix('.py')}.py")


_FILES: Mapping[str, Callable[[Mapping[str, Any]], File]] = {
    "image": _picture,
    "geojson": _layer,
    "model": _model,
    "script": _script,
}
