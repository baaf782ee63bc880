"""Messages of the protocol as Matrix events. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

from PIL import Image

from gischat.bridges.places import centre
from gischat.bridges.wording import PRESENCE_TEXTS, File, file_of, words
from gischat.protocol.places import Box

# The key of the message's id, type and author, for programs that read events; the bridge itself reads the author.
OWN_KEY = "org.gischat"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The content of an `m.room.message`; if there is a file, its `url` is still missing."""

    content: dict[str, Any]
    file: File | None = None


def outgoing(message: Mapping[str, Any], place: Box | None, reply_to: str) -> Outgoing:
    """Convert a message to an event.

    Args:
        place: of a position or extent, in WGS 84; None if unknown.
        reply_to: the event that it replies to; empty if unknown.
    """
    made = _made(message, place)
    made.content["m.mentions"] = {}  # names in the text notify nobody
    made.content[OWN_KEY] = {name: message[name] for name in ("id", "type", "author") if name in message}
    if reply_to:
        made.content["m.relates_to"] = {"m.in_reply_to": {"event_id": reply_to}}
    return made


def notice(words: str, reply_to: str = "") -> dict[str, Any]:
    """A notice of the bridge itself."""
    content: dict[str, Any] = {"msgtype": "m.notice", "body": words, "m.mentions": {}}
    if reply_to:
        content["m.relates_to"] = {"m.in_reply_to": {"event_id": reply_to}}
    return content


def liked_text(content: Mapping[str, Any]) -> str:
    """The text that a like names, from the content of an event made by `outgoing`."""
    author, body = content.get(OWN_KEY, {}).get("author", ""), content.get("body", "")
    return str(body).removeprefix(f"{author}: ")


def geo_uri(place: Box) -> str:
    """The centre of a box in WGS 84 as a geo: URI (RFC 5870), with half of its diagonal as the uncertainty."""
    latitude, longitude, radius = centre(place)
    return f"geo:{latitude:.6f},{longitude:.6f}" + (f";u={radius:.0f}" if radius >= 1 else "")


def _made(message: Mapping[str, Any], place: Box | None) -> Outgoing:
    if message["type"] in PRESENCE_TEXTS:
        return Outgoing(notice(words(message)))
    content = _text_content(message["author"], words(message))
    if (file := file_of(message)) is not None:
        is_picture = message["type"] == "image"
        info = {"mimetype": file.content_type, "size": len(file.data), **(_size(file) if is_picture else {})}
        type = "m.image" if is_picture else "m.file"
        return Outgoing(content | {"msgtype": type, "filename": file.name, "info": info}, file)
    if place is not None and message["type"] in ("position", "bbox"):
        del content["format"], content["formatted_body"]
        return Outgoing(content | {"msgtype": "m.location", "geo_uri": geo_uri(place)})
    return Outgoing(content)


def _text_content(author: str, text: str) -> dict[str, Any]:
    html = escape(text, quote=False).replace("\n", "<br>")
    return {
        "msgtype": "m.text",
        "body": f"{author}: {text}",
        "format": "org.matrix.custom.html",
        "formatted_body": f"<strong>{escape(author)}</strong>: {html}",
    }


def _size(file: File) -> dict[str, int]:
    with Image.open(BytesIO(file.data)) as picture:  # made by a worker: small and valid
        return {"w": picture.width, "h": picture.height}
