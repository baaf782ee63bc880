"""Matrix events as the contract's messages. Pure. An event may be anything: whoever wrote it, a homeserver lets it
through."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from gischat.bridges.texts import from_html, shortened, split
from gischat.protocol.places import WGS_84_WKT

HTML = "org.matrix.custom.html"
MAX_NAME = 120  # characters of a file's name that are shown

# By a file's ending, what it becomes in a channel
FILE_TYPES = {".geojson": "geojson", ".model3": "model", ".py": "script"}
KINDS = {"m.audio": "a recording", "m.video": "a video", "m.file": "a file", "m.image": "a picture"}

_GEO = re.compile(r"(?i:geo):(-?[0-9.]{1,20}),(-?[0-9.]{1,20})(?:,-?[0-9.]{1,20})?((?:;[^;]*)*)\Z", re.ASCII)
_FALLBACK = re.compile(r"(?:> [^\n]*\n)+\n?")  # of a reply, before Matrix 1.13


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that is to be fetched, and the type of the message that it becomes."""

    type: str  # image, or one of FILE_TYPES
    address: str  # mxc://…
    name: str
    announced_bytes: int  # as its sender says; 0 where nothing is said


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody has said."""

    contents: Sequence[Mapping[str, Any]]  # of texts and positions
    attachment: Attachment | None = None  # comes before the contents
    reply_to: str = ""
    replaces: str = ""  # an event that this is another wording of


def said(content: Any, longest: int) -> Said | None:
    """What the content of a `m.room.message` says; None where that is nothing.

    Args:
        longest: characters of a text in one message.
    """
    content = as_object(content)
    relation = as_object(content.get("m.relates_to"))
    reply_to = as_text(as_object(relation.get("m.in_reply_to")).get("event_id"))
    if relation.get("rel_type") == "m.replace":
        edited = as_text(relation.get("event_id"))
        text = _text(as_object(content.get("m.new_content")))
        return Said(_texts(f"(edited) {text}", longest), reply_to=edited, replaces=edited) if text and edited else None
    type = as_text(content.get("msgtype"))
    if type == "m.location":
        return Said(_location(content, longest), reply_to=reply_to)
    if type in KINDS or "url" in content:
        return _file(content, type, longest, reply_to)
    text = _text(content, is_reply=bool(reply_to))
    return Said(_texts(f"* {text}" if type == "m.emote" else text, longest), reply_to=reply_to) if text else None


def file_content(attachment: Attachment, data: str, document: Any) -> Mapping[str, Any]:
    """The message that a file becomes.

    Args:
        data: the file as the message has it: base64 of a picture, text of all else.
        document: a GeoJSON file, parsed.
    """
    name = PurePosixPath(attachment.name).stem
    if attachment.type == "image":
        return {"type": "image", "image_data": data}
    if attachment.type == "model":
        return {"type": "model", "model_name": name[:128], "raw_xml": data}
    if attachment.type == "script":
        return {"type": "script", "name": name[:128], "raw_pycode": data}
    crs = {"crs_wkt": WGS_84_WKT, "crs_authid": "EPSG:4326"}
    return {"type": "geojson", "layer_name": name[:255], **crs, "geojson": document}


def unreadable(attachment: Attachment, why: str, longest: int) -> Sequence[Mapping[str, Any]]:
    """A text in the place of a file that could not be had."""
    return _texts(shortened(f"({attachment.name or 'a file'}: {why})", longest), longest)


def as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(text: str, longest: int) -> list[dict[str, Any]]:
    return [{"type": "text", "text": part} for part in split(text, longest)]


def _text(content: Mapping[str, Any], *, is_reply: bool = False) -> str:
    body = as_text(content.get("body"))
    if content.get("format") == HTML and (formatted := from_html(as_text(content.get("formatted_body")))):
        return formatted
    return _FALLBACK.sub("", body, count=1).strip() if is_reply else body.strip()


def _location(content: Mapping[str, Any], longest: int) -> list[dict[str, Any]]:
    """A position where the address is one in WGS 84; and its description, where that says more than the address."""
    address = as_text(content.get("geo_uri"))
    text = _text(content)
    texts = _texts(text, longest) if text and address not in text else []
    found = _GEO.match(address)
    if found is None or not _is_wgs84(found[3]):
        return texts or _texts(address[:longest], longest)
    try:
        latitude, longitude = float(found[1]), float(found[2])
    except ValueError:
        return texts
    if not (math.isfinite(latitude) and abs(latitude) <= 90 and abs(longitude) <= 180):
        return texts
    crs = {"crs_wkt": WGS_84_WKT, "crs_authid": "EPSG:4326"}
    return [{"type": "position", **crs, "x": longitude, "y": latitude}, *texts]


def _is_wgs84(parameters: str) -> bool:
    """RFC 5870 §3.4.2: so it is where nothing else is said."""
    named = [one[4:] for one in parameters.lower().split(";") if one.startswith("crs=")]
    return named in ([], ["wgs84"])


def _file(content: Mapping[str, Any], type: str, longest: int, reply_to: str) -> Said:
    body, given = as_text(content.get("body")), as_text(content.get("filename"))
    name = shortened((given or body).strip(), MAX_NAME)
    caption = _texts(_text(content), longest) if given and body != given else []
    size = as_object(content.get("info")).get("size")
    announced = size if isinstance(size, int) and size > 0 else 0
    address = as_text(content.get("url"))
    becomes = "image" if type == "m.image" else FILE_TYPES.get(PurePosixPath(name).suffix.lower(), "")
    if becomes and address:
        return Said(caption, Attachment(becomes, address, name, announced), reply_to)
    words = f"({KINDS.get(type, 'a file')}: {name or 'without a name'})"
    return Said(_texts(shortened(words, longest), longest) + caption, reply_to=reply_to)


def is_in_wgs84(document: Any) -> bool:
    """Whether a GeoJSON file is in WGS 84, as it has to be (RFC 7946 §4); GDAL says so where it is not."""
    name = as_text(as_object(as_object(as_object(document).get("crs")).get("properties")).get("name"))
    return not name or name.endswith(("CRS84", "EPSG::4326", "EPSG:4326"))
