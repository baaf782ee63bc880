"""Files of other chats: downloaded and converted to messages, or to texts with the reason of a failure."""

import base64
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import msgspec

from gischat.bridges.base import Bridge
from gischat.bridges.errors import Delayed, Rejected, TooLarge
from gischat.bridges.places import WGS_84
from gischat.bridges.texts import shortened, text_messages
from gischat.settings import Settings
from gischat.shapes import as_object, as_text

MAX_NAME = 120  # characters of a displayed file name

# The types of messages, by file name extension
FILE_TYPES = {".geojson": "geojson", ".model3": "model", ".py": "script"}

TOO_LARGE = "too large, at most {kilobytes} kB can be passed on"
NOT_FETCHED = "it could not be fetched from the other chat"
NOT_IN_WGS84 = "it is not in WGS 84: save it in EPSG:4326"
UNREADABLE = "it is not what its name says"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to download, and the type of its message."""

    type: str  # image, or one of FILE_TYPES
    address: str  # its id in the other chat
    name: str
    announced_bytes: int  # according to its sender; 0 if unknown


async def fetched(
    bridge: Bridge, download: Callable[[str], Awaitable[bytes]], attachment: Attachment | None
) -> Sequence[Mapping[str, Any]]:
    """Download a file and convert it to a message; if that fails, to a text with the reason."""
    if attachment is None:
        return ()
    most, until = _max_bytes_of(bridge.settings)[attachment.type], time.time() + bridge.timings.bridge_patience
    try:
        if attachment.announced_bytes > most:
            raise TooLarge
        data = await bridge.attempt(lambda: download(attachment.address), until)
        if len(data) > most:
            raise TooLarge
        content = _content(attachment, data)
        if is_in_wgs84(content.get("geojson")):
            return [content]
        why = NOT_IN_WGS84
    except TooLarge:
        why = TOO_LARGE.format(kilobytes=most // 1000)
    except (Delayed, Rejected):
        why = NOT_FETCHED
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        why = UNREADABLE
    longest = bridge.settings.max_message_length
    return text_messages(shortened(f"({attachment.name or 'a file'}: {why})", longest), longest)


def file_type(name: str) -> str:
    """The message type for a file of that name; "" if there is none."""
    return FILE_TYPES.get(PurePosixPath(name).suffix.lower(), "")


def _content(attachment: Attachment, data: bytes) -> Mapping[str, Any]:
    """The message for a file."""
    name = PurePosixPath(attachment.name).stem
    match attachment.type:
        case "image":
            return {"type": "image", "image_data": base64.b64encode(data).decode()}
        case "model":
            return {"type": "model", "model_name": name[:128], "raw_xml": data.decode()}
        case "script":
            return {"type": "script", "name": name[:128], "raw_pycode": data.decode()}
        case _:
            return {"type": "geojson", "layer_name": name[:255], **WGS_84, "geojson": msgspec.json.decode(data)}


def is_in_wgs84(document: Any) -> bool:
    """Whether a GeoJSON file is in WGS 84, as required (RFC 7946 §4); GDAL writes another CRS into the file."""
    name = as_text(as_object(as_object(as_object(document).get("crs")).get("properties")).get("name"))
    return not name or name.endswith(("CRS84", "EPSG::4326", "EPSG:4326"))


def max_bytes(settings: Settings) -> int:
    """The maximum size of a file of any type."""
    return max(_max_bytes_of(settings).values())


def _max_bytes_of(settings: Settings) -> Mapping[str, int]:
    return {
        "image": settings.max_image_raw_length * 3 // 4,
        "model": settings.max_model_raw_length,
        "script": settings.max_script_raw_length,
        "geojson": settings.max_frame_size,
    }
