"""Messages of the protocol as calls of the Bot API. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gischat.bridges.places import centre
from gischat.bridges.wording import PRESENCE_TEXTS, File, file_of, words
from gischat.protocol.places import Box

# In UTF-16 code units, like entities' offsets; other units give lower numbers
MAX_TEXT, MAX_CAPTION = 4096, 1024
MAX_ACCURACY = 1500  # metres around a location


@dataclass(frozen=True, slots=True)
class Call:
    """A call that sends one Telegram message, still without the chat and the message that it replies to."""

    method: str
    parameters: Mapping[str, Any]
    field: str = ""  # for the file
    file: File | None = None


def outgoing(message: Mapping[str, Any], place: Box | None) -> Sequence[Call]:
    """Convert a message to calls, in order; a second one is sent as a reply to the first.

    Args:
        place: of a position or extent, in WGS 84; None if unknown.
    """
    text = words(message)
    if message["type"] in PRESENCE_TEXTS:
        return [Call("sendMessage", quiet(text))]
    author = message["author"]
    if (file := file_of(message)) is not None:
        method, field = ("sendPhoto", "photo") if message["type"] == "image" else ("sendDocument", "document")
        caption = next(iter(cut(f"{author}: {text}", MAX_CAPTION)))
        return [Call(method, {"caption": caption, "caption_entities": [_bold(author)]}, field, file)]
    first, *rest = cut(f"{author}: {text}", MAX_TEXT)
    texts: list[dict[str, Any]] = [{"text": first, "entities": [_bold(author)]}, *({"text": part} for part in rest)]
    calls = [Call("sendMessage", text) for text in texts]
    if place is not None and message["type"] in ("position", "bbox"):
        calls.append(Call("sendLocation", _location(place)))
    return calls


def as_document(call: Call) -> Call:
    """A picture as a file, because Telegram has refused it as a photo (its size and proportions are limited)."""
    return Call("sendDocument", call.parameters, "document", call.file)


def quiet(words: str) -> dict[str, Any]:
    """A notice of the bridge itself, without a notification sound."""
    return {"text": cut(words, MAX_TEXT)[0], "disable_notification": True}


def reply(message: int) -> dict[str, Any]:
    """The parameters of a reply, which is sent as a plain message if the other one was deleted."""
    return {"reply_parameters": {"message_id": message, "allow_sending_without_reply": True}} if message else {}


def cut(text: str, longest: int) -> list[str]:
    """Split a text into parts of at most that many UTF-16 code units, between characters."""
    parts, units = [""], 0
    for letter in text:
        width = 2 if ord(letter) > 0xFFFF else 1
        if units + width > longest:
            parts.append("")
            units = 0
        parts[-1] += letter
        units += width
    return [part for part in parts if part.strip()] or [""]


def _bold(author: str) -> dict[str, Any]:
    return {"type": "bold", "offset": 0, "length": len(author)}  # a nickname is ASCII


def _location(place: Box) -> dict[str, Any]:
    latitude, longitude, radius = centre(place)
    found = {"latitude": round(latitude, 6), "longitude": round(longitude, 6)}
    return found | ({"horizontal_accuracy": round(radius)} if 1 <= radius <= MAX_ACCURACY else {})
