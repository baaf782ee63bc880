"""Telegram's messages as messages of the protocol. Pure. Messages may have unknown kinds, which Telegram often adds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gischat.bridges.files import MAX_NAME, Attachment, file_type
from gischat.bridges.places import position_message
from gischat.bridges.texts import shortened, text_messages
from gischat.shapes import as_integer, as_list, as_object, as_text

# Kinds without a message type: their description, and the field with details
KINDS = {
    "animation": ("an animation", "file_name"),
    "sticker": ("a sticker", "emoji"),
    "video": ("a video", "file_name"),
    "video_note": ("a video", ""),
    "voice": ("a recording", ""),
    "audio": ("a recording", "file_name"),
    "poll": ("a poll", "question"),
    "dice": ("a throw", "emoji"),
    "contact": ("a contact", ""),
    "story": ("a story", ""),
    "document": ("a file", "file_name"),  # last, because an animation is a document, too
}
PICTURES = ("image/jpeg", "image/png", "image/webp")

_USERNAME = re.compile(r"[A-Za-z0-9_]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Sender:
    """A user, or a group or channel in whose name somebody writes."""

    id: str
    name: str  # see `nicknames.candidates`


@dataclass(frozen=True, slots=True)
class Converted:
    """The content of a message."""

    contents: Sequence[Mapping[str, Any]]  # texts and positions
    attachment: Attachment | None = None  # precedes the contents


def sender(message: Mapping[str, Any]) -> Sender | None:
    """The sender of a message; for an anonymous administrator, the group."""
    return named(message.get("sender_chat")) or named(message.get("from"))


def named(one: Any) -> Sender | None:
    """A user or chat. A username is unique, but optional; other names may be any text."""
    one = as_object(one)
    id, username = as_integer(one.get("id")), as_text(one.get("username"))
    if not id:
        return None
    if _USERNAME.match(username):
        return Sender(str(id), f"{username.lower()}:telegram")
    called = " ".join(as_text(one.get(name)) for name in ("first_name", "last_name", "title")).strip()
    return Sender(str(id), f"{called[:64]} (telegram)")


def convert(message: Mapping[str, Any], longest: int, pixels: int) -> Converted | None:
    """Convert a message; None if there is nothing to publish.

    Args:
        longest: maximum characters of a text per message.
        pixels: the longest side of a picture; of several sizes, the smallest that suffices is downloaded.
    """
    texts = text_messages(text_of(message), longest)
    if photo := _photo(as_list(message.get("photo")), pixels):
        return Converted(texts, photo)
    if document := _document(as_object(message.get("document"))):
        return Converted(texts, document)
    if position := _position(as_object(message.get("location"))):
        venue = as_object(message.get("venue"))
        where = ", ".join(filter(None, (as_text(venue.get("title")), as_text(venue.get("address")))))
        return Converted([position, *text_messages(where, longest)])
    for kind, (name, detail) in KINDS.items():
        if isinstance(message.get(kind), dict):
            what = as_text(message[kind].get(detail)).strip()
            described = shortened(f"({name}: {what})" if what else f"({name})", longest)
            return Converted([*text_messages(described, longest), *texts])
    return Converted(texts) if texts else None


def text_of(message: Mapping[str, Any]) -> str:
    """The text or caption without formatting; the URLs of links follow their texts."""
    name, entities = ("text", "entities") if as_text(message.get("text")) else ("caption", "caption_entities")
    units = _encoded(as_text(message.get(name)))
    links = [as_object(one) for one in as_list(message.get(entities))]
    for link in sorted(links, key=lambda one: as_integer(one.get("offset")), reverse=True):
        start, end = as_integer(link.get("offset")), as_integer(link.get("offset")) + as_integer(link.get("length"))
        address = as_text(link.get("url"))
        if link.get("type") != "text_link" or not 0 <= start < end <= len(units) // 2:
            continue
        if address.startswith(("http://", "https://")) and _encoded(address) != units[2 * start : 2 * end]:
            units = units[: 2 * end] + _encoded(f" ({address})") + units[2 * end :]
    return units.decode("utf-16-le", "replace").strip()


def _encoded(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


def topic_of(message: Mapping[str, Any]) -> int:
    """The topic of a message; 0 outside of topics, where a thread is only a series of replies."""
    return as_integer(message.get("message_thread_id")) if message.get("is_topic_message") is True else 0


def _photo(sizes: Sequence[Any], pixels: int) -> Attachment | None:
    """The smallest size that need not be enlarged; otherwise the largest."""
    known = [size for size in map(as_object, sizes) if as_text(size.get("file_id"))]
    if not known:
        return None
    by_side = sorted(known, key=_longest_side)
    best = next((size for size in by_side if _longest_side(size) >= pixels), by_side[-1])
    return _attachment("image", best, "photo.jpg")


def _longest_side(size: Mapping[str, Any]) -> int:
    return max(as_integer(size.get("width")), as_integer(size.get("height")))


def _document(document: Mapping[str, Any]) -> Attachment | None:
    name = shortened(as_text(document.get("file_name")).strip(), MAX_NAME)
    becomes = "image" if document.get("mime_type") in PICTURES else file_type(name)
    return _attachment(becomes, document, name) if becomes and as_text(document.get("file_id")) else None


def _attachment(type: str, file: Mapping[str, Any], name: str) -> Attachment:
    return Attachment(type, as_text(file.get("file_id")), name, max(as_integer(file.get("file_size")), 0))


def _position(location: Mapping[str, Any]) -> dict[str, Any] | None:
    latitude, longitude = location.get("latitude"), location.get("longitude")
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return None
    return position_message(latitude, longitude)
