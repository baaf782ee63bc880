"""Matrix events as messages of the protocol. Pure. Events may contain anything, because homeservers do not validate
them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gischat.bridges.files import MAX_NAME, Attachment, file_type
from gischat.bridges.places import position_message
from gischat.bridges.texts import from_html, shortened, text_messages
from gischat.shapes import as_object, as_text

HTML = "org.matrix.custom.html"
KINDS = {"m.audio": "a recording", "m.video": "a video", "m.file": "a file", "m.image": "a picture"}

_GEO = re.compile(r"(?i:geo):(-?[0-9.]{1,20}),(-?[0-9.]{1,20})(?:,-?[0-9.]{1,20})?((?:;[^;]*)*)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Converted:
    """The content of an event."""

    contents: Sequence[Mapping[str, Any]]  # texts and positions
    attachment: Attachment | None = None  # precedes the contents
    reply_to: str = ""
    replaces: str = ""  # the event that it edits


def convert(content: Any, longest: int) -> Converted | None:
    """Convert the content of an `m.room.message`; None if there is nothing to publish.

    Args:
        longest: maximum characters of a text per message.
    """
    content = as_object(content)
    relation = as_object(content.get("m.relates_to"))
    reply_to = as_text(as_object(relation.get("m.in_reply_to")).get("event_id"))
    if relation.get("rel_type") == "m.replace":
        edited = as_text(relation.get("event_id"))
        text = _text(as_object(content.get("m.new_content")))
        if not text or not edited:
            return None
        return Converted(text_messages(f"(edited) {text}", longest), reply_to=edited, replaces=edited)
    type = as_text(content.get("msgtype"))
    if type == "m.location":
        return Converted(_location(content, longest), reply_to=reply_to)
    if type in KINDS or "url" in content:
        return _file(content, type, longest, reply_to)
    text = _text(content, is_reply=bool(reply_to))
    return (
        Converted(text_messages(f"* {text}" if type == "m.emote" else text, longest), reply_to=reply_to)
        if text
        else None
    )


def _text(content: Mapping[str, Any], *, is_reply: bool = False) -> str:
    body = as_text(content.get("body"))
    if content.get("format") == HTML and (formatted := from_html(as_text(content.get("formatted_body")))):
        return formatted
    return (_without_quotation(body) if is_reply else body).strip()


def _without_quotation(body: str) -> str:
    """Remove the quotation that precedes a reply (before Matrix 1.13)."""
    lines = body.split("\n")
    first = next((number for number, line in enumerate(lines) if not line.startswith("> ")), len(lines))
    return "\n".join(lines[first:]) if first < len(lines) else body


def _location(content: Mapping[str, Any], longest: int) -> list[dict[str, Any]]:
    """A position, if the URI is one in WGS 84; and the description, unless it only repeats the URI."""
    address = as_text(content.get("geo_uri"))
    text = _text(content)
    texts = text_messages(text, longest) if text and address not in text else []
    found = _GEO.match(address)
    if found is None or not _is_wgs84(found[3]):
        return texts or text_messages(address[:longest], longest)
    try:
        position = position_message(float(found[1]), float(found[2]))
    except ValueError:
        return texts
    return [position, *texts] if position else texts


def _is_wgs84(parameters: str) -> bool:
    """Whether the URI's CRS is WGS 84, which is the default (RFC 5870 §3.4.2)."""
    named = [one[4:] for one in parameters.lower().split(";") if one.startswith("crs=")]
    return named in ([], ["wgs84"])


def _file(content: Mapping[str, Any], type: str, longest: int, reply_to: str) -> Converted:
    body, given = as_text(content.get("body")), as_text(content.get("filename"))
    name = shortened((given or body).strip(), MAX_NAME)
    caption = text_messages(_text(content), longest) if given and body != given else []
    size = as_object(content.get("info")).get("size")
    announced = size if isinstance(size, int) and size > 0 else 0
    address = as_text(content.get("url"))
    becomes = "image" if type == "m.image" else file_type(name)
    if becomes and address:
        return Converted(caption, Attachment(becomes, address, name, announced), reply_to)
    words = f"({KINDS.get(type, 'a file')}: {name or 'without a name'})"
    return Converted(text_messages(shortened(words, longest), longest) + caption, reply_to=reply_to)
