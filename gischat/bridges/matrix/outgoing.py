"""The contract's messages as Matrix events. Pure."""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

import msgspec
from PIL import Image

LIKE = "👍"
DEGREES = ("EPSG:4326", "OGC:CRS84")  # in the order of QGIS: x is the longitude
DEGREE_METRES = 111_320  # along a meridian

# Whose message it is and which, for those who read events by program; the bridge itself reads the author here.
OWN_KEY = "org.gischat"

PICTURES = {"JPEG": ("image/jpeg", "jpg"), "PNG": ("image/png", "png")}


@dataclass(frozen=True, slots=True)
class File:
    """A file that is uploaded before its event is sent."""

    data: bytes
    content_type: str
    name: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The content of a `m.room.message`; where there is a file, its `url` is still missing."""

    content: dict[str, Any]
    file: File | None = None


def outgoing(message: Mapping[str, Any], place: tuple[float, float, float, float] | None, reply_to: str) -> Outgoing:
    """A message as an event.

    Args:
        place: west, south, east, north in WGS 84, if that is known.
        reply_to: the event that it answers, if that is known.
    """
    made = _MAKERS.get(message["type"], _other)(message, place)
    made.content["m.mentions"] = {}  # nobody is called by what only looks like a name
    made.content[OWN_KEY] = {name: message[name] for name in ("id", "type", "author") if name in message}
    if reply_to:
        made.content["m.relates_to"] = {"m.in_reply_to": {"event_id": reply_to}}
    return made


def notice(words: str, reply_to: str = "") -> dict[str, Any]:
    """The bridge's own words."""
    content: dict[str, Any] = {"msgtype": "m.notice", "body": words, "m.mentions": {}}
    if reply_to:
        content["m.relates_to"] = {"m.in_reply_to": {"event_id": reply_to}}
    return content


def liked_text(content: Mapping[str, Any]) -> str:
    """What a like calls the message of an event that `outgoing` has made."""
    author, body = content.get(OWN_KEY, {}).get("author", ""), content.get("body", "")
    return str(body).removeprefix(f"{author}: ")


def _said(author: str, text: str) -> dict[str, Any]:
    html = escape(text, quote=False).replace("\n", "<br>")
    return {
        "msgtype": "m.text",
        "body": f"{author}: {text}",
        "format": "org.matrix.custom.html",
        "formatted_body": f"<strong>{escape(author)}</strong>: {html}",
    }


def _text(message: Mapping[str, Any], _: object) -> Outgoing:
    return Outgoing(_said(message["author"], message["text"]))


def _image(message: Mapping[str, Any], _: object) -> Outgoing:
    data = base64.b64decode(message["image_data"])
    with Image.open(BytesIO(data)) as picture:  # a worker's: small, and sound
        content_type, ending = PICTURES.get(picture.format or "", ("application/octet-stream", "bin"))
        info = {"mimetype": content_type, "size": len(data), "w": picture.width, "h": picture.height}
    name = f"{message['author']}.{ending}"
    said = _said(message["author"], "a picture")
    return Outgoing(said | {"msgtype": "m.image", "filename": name, "info": info}, File(data, content_type, name))


def _geojson(message: Mapping[str, Any], _: object) -> Outgoing:
    features = message["geojson"].get("features") or ()
    crs = message["crs_authid"] or "its own CRS"
    number = f"{len(features)} feature{'' if len(features) == 1 else 's'}"
    words = f"the layer {message['layer_name']} ({number}, {crs})"
    document = {**message["geojson"]}
    if message["crs_authid"] and message["crs_authid"] != "EPSG:4326":
        # What GDAL reads, and RFC 7946 has no more (§4): without it the coordinates would be taken for degrees.
        authority, _, code = message["crs_authid"].partition(":")
        urn = f"urn:ogc:def:crs:{authority}::{code}"
        document["crs"] = {"type": "name", "properties": {"name": urn}}
    return _file(
        message, words, f"{message['layer_name']}.geojson", msgspec.json.encode(document), "application/geo+json"
    )


def _crs(message: Mapping[str, Any], _: object) -> Outgoing:
    return Outgoing(_said(message["author"], f"the coordinate reference system {_crs_name(message)}"))


def _position(message: Mapping[str, Any], place: tuple[float, float, float, float] | None) -> Outgoing:
    words = f"a position, {message['x']:.12g} {message['y']:.12g} ({_crs_name(message)})"
    return _located(message, words, place)


def _bbox(message: Mapping[str, Any], place: tuple[float, float, float, float] | None) -> Outgoing:
    sides = " ".join(f"{message[side]:.12g}" for side in ("xmin", "ymin", "xmax", "ymax"))
    return _located(message, f"a map extent, {sides} ({_crs_name(message)})", place)


def _located(message: Mapping[str, Any], words: str, place: tuple[float, float, float, float] | None) -> Outgoing:
    said = _said(message["author"], words)
    if place is None:
        return Outgoing(said)
    address = geo_uri(place)
    said |= {"msgtype": "m.location", "geo_uri": address}
    del said["format"], said["formatted_body"]
    return Outgoing(said)


def place_in_degrees(message: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """Where a message is that has its coordinates in WGS 84 anyway, for those that are not stored."""
    if message["crs_authid"] not in DEGREES or message["type"] not in ("position", "bbox"):
        return None
    west, south = message.get("x", message.get("xmin")), message.get("y", message.get("ymin"))
    east, north = message.get("x", message.get("xmax")), message.get("y", message.get("ymax"))
    is_on_earth = -180 <= west <= east <= 180 and -90 <= south <= north <= 90
    return (west, south, east, north) if is_on_earth else None


def geo_uri(place: tuple[float, float, float, float]) -> str:
    """The middle of a box in WGS 84 as a geo: URI (RFC 5870); of an extent with half its diagonal as uncertainty."""
    west, south, east, north = place
    if east < west:  # across the antimeridian
        east += 360
    longitude, latitude = (west + east) / 2, (south + north) / 2
    if longitude > 180:
        longitude -= 360
    across = (east - west) * math.cos(math.radians(latitude))
    radius = math.hypot(across, north - south) / 2 * DEGREE_METRES
    return f"geo:{latitude:.6f},{longitude:.6f}" + (f";u={radius:.0f}" if radius >= 1 else "")


def _model(message: Mapping[str, Any], _: object) -> Outgoing:
    name = message["model_name"]
    data = message["raw_xml"].encode()
    return _file(message, f"the processing model {name}", f"{name}.model3", data, "application/xml")


def _script(message: Mapping[str, Any], _: object) -> Outgoing:
    name = message["name"].removesuffix(".py")
    data = message["raw_pycode"].encode()
    return _file(message, f"the script {name}", f"{name}.py", data, "text/x-python")


def _file(message: Mapping[str, Any], words: str, name: str, data: bytes, content_type: str) -> Outgoing:
    info = {"mimetype": content_type, "size": len(data)}
    said = _said(message["author"], words)
    return Outgoing(said | {"msgtype": "m.file", "filename": name, "info": info}, File(data, content_type, name))


def _newcomer(message: Mapping[str, Any], _: object) -> Outgoing:
    return Outgoing(notice(f"{message['newcomer']} has joined the channel."))


def _exiter(message: Mapping[str, Any], _: object) -> Outgoing:
    return Outgoing(notice(f"{message['exiter']} has left the channel."))


def _other(message: Mapping[str, Any], _: object) -> Outgoing:
    return Outgoing(_said(message["author"], f"a {message['type']}, which can be seen in the channel alone"))


def _crs_name(message: Mapping[str, Any]) -> str:
    """A CRS in words: its code, or the name in its definition."""
    if message["crs_authid"]:
        return str(message["crs_authid"])
    _, _, behind = message["crs_wkt"].partition('"')
    return behind.partition('"')[0] or "CRS unknown"


_MAKERS = {
    "text": _text,
    "image": _image,
    "geojson": _geojson,
    "crs": _crs,
    "position": _position,
    "bbox": _bbox,
    "model": _model,
    "script": _script,
    "newcomer": _newcomer,
    "exiter": _exiter,
}
