"""Files of the other chat: fetched, and made messages of, or words that say why not."""

import base64
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gischat.bridges.base import Bridge
from gischat.bridges.errors import Delayed, Rejected
from gischat.bridges.matrix.client import MatrixClient, TooLarge
from gischat.bridges.matrix.incoming import Attachment, file_content, is_in_wgs84, unreadable
from gischat.settings import Settings

TOO_LARGE = "too large, at most {kilobytes} kB can be passed on"
NOT_FETCHED = "it could not be fetched from the homeserver"
NOT_IN_WGS84 = "it is not in WGS 84: save it in EPSG:4326"
UNREADABLE = "it is not what its name says"


async def fetched(bridge: Bridge, client: MatrixClient, attachment: Attachment) -> Sequence[Mapping[str, Any]]:
    """A file as a message; a text that says why not, where it cannot be had or read."""
    longest, most = bridge.settings.max_message_length, _max_bytes_of(bridge.settings)[attachment.type]
    too_large = TOO_LARGE.format(kilobytes=most // 1000)
    if attachment.announced_bytes > most:
        return unreadable(attachment, too_large, longest)
    until = time.time() + bridge.timings.bridge_patience
    try:
        data = await bridge.attempt(lambda: client.download(attachment.address), until)
    except TooLarge:
        return unreadable(attachment, too_large, longest)
    except (Delayed, Rejected):
        return unreadable(attachment, NOT_FETCHED, longest)
    if len(data) > most:
        return unreadable(attachment, too_large, longest)
    try:
        if attachment.type == "image":
            return [file_content(attachment, base64.b64encode(data).decode(), None)]
        if attachment.type != "geojson":
            return [file_content(attachment, data.decode(), None)]
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return unreadable(attachment, UNREADABLE, longest)
    if not is_in_wgs84(document):
        return unreadable(attachment, NOT_IN_WGS84, longest)
    return [file_content(attachment, "", document)]


def max_bytes(settings: Settings) -> int:
    """Of a file of any type."""
    return max(_max_bytes_of(settings).values())


def _max_bytes_of(settings: Settings) -> Mapping[str, int]:
    return {
        "image": settings.max_image_raw_length * 3 // 4,
        "model": settings.max_model_raw_length,
        "script": settings.max_script_raw_length,
        "geojson": settings.max_frame_size,
    }
