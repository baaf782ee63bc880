"""Parser of client messages: decodes, validates and completes them.

JSON is decoded strictly (see `protocol.strict_json`), and its fields by the table of `protocol.schemas`. A large
document inside a message (a GeoJSON layer) is only scanned here; a worker decodes it.
"""

import contextlib
from dataclasses import replace
from typing import Any

import msgspec
from marshmallow import Schema, ValidationError, missing

from gischat.errors import Uncompliant
from gischat.protocol.fields import QUOTES
from gischat.protocol.long_text import LongText, Pieces
from gischat.protocol.messages import Message
from gischat.protocol.schemas import schemas
from gischat.protocol.strict_json import ObjectDecoder
from gischat.protocol.types import SERVER_TYPES, TYPES
from gischat.protocol.wording import MISSING, beginning, excerpt, quoting, sentence
from gischat.settings import Settings

# In these fields null means absent: clients that serialise a class with all of its fields send it.
NULL_IS_ABSENT = frozenset({"id", "timestamp", "in_reply_to_id"})
# Types whose pieces may be checked while they arrive, and the field with these pieces.
HOLDS_PIECES = {"image": "image_data", "geojson": "geojson"}


class MessageParser:
    """Parses and validates client messages."""

    def __init__(self, settings: Settings) -> None:
        self.schemas = schemas(settings)
        # Type -> names of its fields, and the function that decodes each.
        self._readers = {
            type: [(name, field.value_of) for name, field in schema.fields.items() if name != "type"]  # type: ignore[attr-defined]
            for type, schema in self.schemas.items()
        }
        self._types = {f'"{type}"'.encode(): type for type in self.schemas}
        self._object = ObjectDecoder({name for schema in self.schemas.values() for name in schema.fields})

    def parse(self, frame: str | bytes, *, type: str | None = None) -> Message:
        """Parse one JSON object and add `id`, `timestamp` and empty optional fields.

        Args:
            frame: the text of a websocket frame or of a request's body.
            type: the only type allowed, and the default if the object has none.

        Raises:
            Uncompliant: the message is invalid; `fields` is set if single fields are.
        """
        try:
            members = self._object.decode(frame)
        except Uncompliant as error:
            raise Uncompliant(quoting(error.reason, frame), error.fields) from None
        type = self._type_of(members.type, type)
        try:
            return self._message(members, type)
        except ValidationError as error:
            raise _uncompliant(error, frame if type == "text" else "") from None

    def parse_long(self, frame: LongText) -> Message:
        """As `parse` does. A photo or layer whose pieces have been checked is not read as a whole; anything else is."""
        with contextlib.suppress(Uncompliant, ValidationError):  # refused in words that tell of the whole
            if message := self._checked(frame):
                return message
        return self.parse(frame.whole())

    def _checked(self, frame: LongText) -> Message | None:
        """The message, if the pieces that were taken out are where its type may have them; None if they are not."""
        members = self._object.decode(frame.text)
        name = HOLDS_PIECES[frame.type]
        written = getattr(members, name)
        if self._type_of(members.type, None) != frame.type or written is None or frame.stand_in not in bytes(written):
            return None
        longest = getattr(self.schemas[frame.type].fields[name], "longest", None)
        if longest is not None and len(written) - len(frame.stand_in) + frame.piece_bytes > longest + QUOTES:
            return None
        message = self._message(members, frame.type)
        before, after = bytes(message.body).split(frame.stand_in)
        return replace(message, body=Pieces([before, *frame.pieces, after]))

    def _message(self, members: Any, type: str) -> Message:
        content = _loaded(type, self.schemas[type], self._given(members, type))
        author = content.get("author") or content.get("liker_author", "")
        return Message(content["type"], content["id"], msgspec.json.encode(content), author)

    def _type_of(self, written: msgspec.Raw | None, only: str | None) -> str:
        if written is None:
            if only is None:
                raise Uncompliant("The message has no type.", {"type": MISSING})
            return only
        value = memoryview(written)
        named = self._types.get(bytes(value[:100])) or beginning(value[1:])
        if value[0] != ord('"'):
            reason = "The type must be a text."
        elif only is not None and named != only:
            reason = f"The type must be '{only}'."
        elif named in SERVER_TYPES:
            reason = f"Messages of type '{named}' come from the server only."
        elif named not in self.schemas:
            reason = f"Unknown message type {excerpt(named)}."
        else:
            return named
        raise Uncompliant(reason, {"type": reason})

    def _given(self, members: Any, type: str) -> dict[str, Any]:
        """The decoded values of the type's fields; other members are dropped undecoded."""
        given: dict[str, Any] = {}
        for name, value_of in self._readers[type]:
            raw = getattr(members, name)
            if raw is not None:
                value = value_of(raw)
                if value is not None or name not in NULL_IS_ABSENT:
                    given[name] = value
        return given


def _loaded(type: str, schema: Schema, given: dict[str, Any]) -> dict[str, Any]:
    """The result of `schema.load`, in half of its time if no field is at fault; it was a tenth of a front's work."""
    if TYPES[type].fault is None:
        with contextlib.suppress(ValidationError):
            values = {name: field.deserialize(given.get(name, missing), name) for name, field in schema.fields.items()}
            return {name: value for name, value in values.items() if value is not missing}
    loaded: dict[str, Any] = schema.load(given)
    return loaded


def _uncompliant(error: ValidationError, text: str | bytes) -> Uncompliant:
    messages = error.messages
    by_field = messages if isinstance(messages, dict) else {"message": messages}
    broken = {
        str(name): " ".join(map(str, faults)) if isinstance(faults, list) else str(faults)
        for name, faults in by_field.items()
    }
    sentences = dict.fromkeys(sentence(name, fault) for name, fault in broken.items())
    return Uncompliant(quoting(" ".join(sentences), text), broken)
