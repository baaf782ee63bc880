"""The messages of the contract: what a client may send, checked and completed.

One table maps a type to its fields, as the table of the wire contract does; limits come from the settings. JSON is read
strictly: no NaN, no lone surrogates, no numbers beyond a double, bounded depth. A large document inside a message (a
GeoJSON layer) is only scanned here, not built: that is a worker's job.
"""

import base64
import hashlib
import math
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from gischat.errors import Uncompliant
from gischat.settings import Settings


class Lane(StrEnum):
    """Where a job waits: quick ones must never wait behind a picture."""

    LIGHT = "light"
    HEAVY = "heavy"


HEAVY_TYPES = frozenset({"image", "geojson"})
SERVER_TYPES = frozenset({"nb_users", "uncompliant"})

LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that datetime (and so QGIS) can show


@dataclass(frozen=True, slots=True)
class Message:
    """A message that keeps the contract. `body` is the whole JSON object: what receivers get if no worker alters it.

    `author` is who it says has written or liked something; empty where nobody has.
    """

    type: str
    id: str
    body: bytes
    author: str = ""

    @property
    def lane(self) -> Lane:
        return Lane.HEAVY if self.type in HEAVY_TYPES else Lane.LIGHT


class Messages:
    """Reads and checks what clients send."""

    def __init__(self, settings: Settings) -> None:
        self.schemas = schemas(settings)
        self._object = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def read(self, frame: str | bytes, *, type: str | None = None) -> Message:
        """Checks one JSON object and completes it with `id`, `timestamp` and empty optional fields.

        Args:
            frame: the text of a websocket frame or of a request's body.
            type: the only type allowed, taken for granted when the object does not name it.

        Raises:
            Uncompliant: with a reason for its sender, and `fields` when single fields are at fault.
        """
        document = self._read_object(frame)
        schema = self.schemas[self._type_of(document, type)]
        try:
            content: dict[str, Any] = schema.load(_given(document, schema))
        except ValidationError as error:
            broken = {str(name): _words(reasons) for name, reasons in _by_field(error).items()}
            raise Uncompliant("; ".join(f"{name}: {words}" for name, words in broken.items()), broken) from None
        author = content.get("author") or content.get("liker_author", "")
        return Message(content["type"], content["id"], msgspec.json.encode(content), author)

    def _read_object(self, frame: str | bytes) -> dict[str, msgspec.Raw]:
        try:
            # What is only scanned is not looked at letter by letter: that bytes are UTF-8 is seen here.
            return self._object.decode(frame.decode() if isinstance(frame, bytes) else frame)
        except msgspec.ValidationError:
            raise Uncompliant("The message must be a JSON object.") from None
        except (msgspec.DecodeError, UnicodeError):
            raise Uncompliant("The message is not valid JSON.") from None
        except RecursionError:
            raise Uncompliant("The message is nested too deeply.") from None

    def _type_of(self, document: Mapping[str, msgspec.Raw], only: str | None) -> str:
        if "type" not in document:
            if only is None:
                raise Uncompliant("The message has no type.", {"type": "Missing."})
            return only
        named = _value(document["type"], "type")
        if not isinstance(named, str):
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


Row = dict[str, fields.Field[Any]]  # a type's own fields, in the order in which they are sent


def schemas(settings: Settings) -> dict[str, Schema]:
    """The table: what a client may send, by type."""
    nickname = Nickname(settings)
    authid, wkt = Text(50), Text(10_000)

    signed: Row = {"author": nickname, "avatar": Text(255, optional=True)}
    reply: Row = {"in_reply_to_id": Identifier()}
    place: Row = {"crs_wkt": wkt, "crs_authid": authid}
    sides: Row = {side: Number() for side in ("xmin", "xmax", "ymin", "ymax")}
    rows: dict[str, Row] = {
        "text": signed | {"text": Text(settings.max_message_length)} | reply,
        "image": signed | {"image_data": LongText(settings.max_image_raw_length)} | reply,
        "geojson": signed
        | {"layer_name": Text(255)}
        | place
        | {"geojson": Document(), "style": Text(None, optional=True)}
        | reply,
        "crs": signed | place | reply,
        "bbox": signed | place | sides | reply,
        "position": signed | place | {"x": Number(), "y": Number()} | reply,
        "model": signed
        | {
            "model_name": Text(128),
            "model_group": Text(128, optional=True),
            "raw_xml": LongText(settings.max_model_raw_length),
        },
        "script": signed | {"name": Text(128), "raw_pycode": LongText(settings.max_script_raw_length)},
        "newcomer": {"newcomer": nickname},
        "exiter": {"exiter": nickname},
        "like": {
            "liker_author": nickname,
            "liked_author": nickname,
            "message": Text(settings.max_message_length),
        },
    }
    return {type: _schema(type, row) for type, row in rows.items()}


def _schema(type: str, row: Row) -> Schema:
    head: Row = {
        "type": fields.Constant(type),
        "id": Identifier(load_default=new_id),
        "timestamp": Timestamp(load_default=now),
    }
    made = Schema.from_dict(head | row, name=f"{type.capitalize()}Message")
    return made(unknown=EXCLUDE)


def new_id() -> str:
    """A message's id: a UUID, as a string."""
    return str(uuid.uuid4())


def now() -> int:
    """A message's timestamp: whole seconds since the epoch."""
    return int(time.time())


def id_of(body: bytes) -> bytes:
    """The id of a message as it is published: every one begins with its type and its id."""
    start = body.index(b'"id":"') + len(b'"id":"')
    return body[start : body.index(b'"', start)]


def content_digest(body: bytes) -> str:
    """What a message says, in sixteen characters: all of it but the time at which it was sent.

    A client that sends a message again, for it did not hear of the first, may not know what time that bore.
    """
    found = _TIMESTAMP.search(body, 0, _HEAD_BYTES)
    start, end = found.span() if found else (0, 0)
    whole = memoryview(body)
    digest = hashlib.blake2b(whole[:start], digest_size=12)
    digest.update(whole[end:])
    return base64.urlsafe_b64encode(digest.digest()).decode()


_TIMESTAMP = re.compile(rb'"timestamp":\d+')
_HEAD_BYTES = 128  # in which a message's type, id and timestamp stand, in this order


def nickname_of(message: Message) -> str:
    """The nickname in a `newcomer` or `exiter`, where the key is named as the type is."""
    nickname: str = msgspec.json.decode(message.body)[message.type]
    return nickname


def newcomer_message(nickname: str) -> Message:
    """A `newcomer` that a front sends for one of its connections."""
    return _own_message("newcomer", newcomer=nickname)


def exiter_message(nickname: str) -> Message:
    """An `exiter` that a front sends for one of its connections."""
    return _own_message("exiter", exiter=nickname)


def _own_message(type: str, **content: str) -> Message:
    body = server_message(type, **content)
    return Message(type, id_of(body).decode(), body)


def excerpt(text: str, length: int = 40) -> str:
    """A client's own word, quoted, short and printable: fit to stand in a reason."""
    shown = text if len(text) <= length else text[: length - 1] + "…"
    return "'" + "".join(character if character.isprintable() else "�" for character in shown) + "'"


def uncompliant(reason: str) -> bytes:
    """The message that tells a sender what is wrong."""
    return server_message("uncompliant", reason=reason)


def server_message(type: str, **content: Any) -> bytes:
    """A message of the server's own making, as JSON."""
    return msgspec.json.encode({"type": type, "id": new_id(), "timestamp": now()} | content)


# A null in these fields means what leaving them out means: clients that fill a class with all of its fields send it.
NULL_IS_ABSENT = frozenset({"id", "timestamp", "in_reply_to_id"})


def _given(document: Mapping[str, msgspec.Raw], schema: Schema) -> dict[str, Any]:
    """The values of the fields that the schema knows; what else a client sends is dropped unread."""
    given: dict[str, Any] = {}
    for name, field in schema.fields.items():
        if name in document and name != "type":
            raw = document[name]
            value = raw if isinstance(field, (Document, LongText)) else _value(raw, name)
            if value is not None or name not in NULL_IS_ABSENT:
                given[name] = value
    return given


def _value(raw: msgspec.Raw, name: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        # The text as a whole was well-formed: what is left is a number that no double holds, or depth.
        reason = "Not a value that can be represented."
        raise Uncompliant(f"{name}: {reason}", {name: reason}) from None


def _by_field(error: ValidationError) -> dict[str, Any]:
    messages = error.messages
    return messages if isinstance(messages, dict) else {"message": messages}


def _words(reasons: Any) -> str:
    return " ".join(map(str, reasons)) if isinstance(reasons, list) else str(reasons)


MISSING: dict[str, str | list[Any] | dict[Any, Any]] = {"required": "Missing.", "null": "Must not be null."}


class Text(fields.String):
    """A string of at most `longest` characters; an optional one is null when it is not given."""

    default_error_messages: dict[str, str | list[Any] | dict[Any, Any]] = MISSING | {"invalid": "Must be a text."}

    def __init__(self, longest: int | None, *, optional: bool = False) -> None:
        limit = None if longest is None else validate.Length(max=longest, error="At most {max} characters are allowed.")
        if optional:
            super().__init__(load_default=None, allow_none=True, validate=limit)
        else:
            super().__init__(required=True, validate=limit)


class LongText(Text):
    """A required string of at most `longest` characters that is passed on as its sender wrote it, found well-formed.

    A photo's megabytes would otherwise be decoded and encoded again, while the front does nothing else.
    """

    def __init__(self, longest: int) -> None:
        super().__init__(longest)
        self._longest = longest

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        if isinstance(value, msgspec.Raw):
            written = memoryview(value)
            if written[0] != ord('"') or len(written) > self._longest + len('""'):
                # No string, or too long; or long in bytes alone, which only reading it shows.
                super().deserialize(_value(value, attr or ""), attr, data, **kwargs)
            return value
        return super().deserialize(value, attr, data, **kwargs)


class Nickname(Text):
    """ASCII letters, digits, `_` and `-`, with nothing around them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(None)
        shortest, longest = settings.min_author_length, settings.max_author_length
        self.validators = [
            validate.Length(shortest, longest, error="{min} to {max} characters are needed."),
            validate.Regexp(r"[A-Za-z0-9_-]*\Z", error="Only letters A-Z, digits, '_' and '-' are allowed."),
        ]


class Identifier(fields.Field[str]):
    """A UUID in its usual form, kept as its sender wrote it."""

    FORM = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not self.FORM.fullmatch(value):
            raise ValidationError("Must be a UUID.")
        return value


class Timestamp(fields.Field[int]):
    """Whole seconds since the epoch."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        # bool is an int to Python, not to JSON
        if type(value) is not int or not 0 <= value <= LAST_SECOND:
            raise ValidationError("Must be whole seconds since the epoch.")
        return value


class Number(fields.Field[float]):
    """A finite number, kept as its sender wrote it: integer or not."""

    default_error_messages = MISSING

    def __init__(self) -> None:
        super().__init__(required=True)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if type(value) not in (int, float) or not _is_finite(value):
            raise ValidationError("Must be a finite number.")
        number: float = value
        return number


class Document(fields.Field[msgspec.Raw]):
    """A JSON value that is passed on unread: well-formed, otherwise anything."""

    default_error_messages = MISSING

    def __init__(self) -> None:
        super().__init__(required=True)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond the range of a double
        return False
