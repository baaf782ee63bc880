"""What a client may send: the fields of the table of types (`protocol.types`), as marshmallow's.

A field is read in two steps. `value_of` takes it from JSON and builds nothing that the field could not be, by its
length and its type: no value costs more than its scan. `deserialize` checks it, in words for its sender.
"""

import functools
import math
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gischat.protocol.file_names import file_name, icon_name
from gischat.protocol.identifiers import new_id, now
from gischat.protocol.lazy_patterns import compiled_when_used
from gischat.protocol.types import TYPES, MessageType
from gischat.protocol.wording import MISSING, excerpt, is_blank, too_large, too_long
from gischat.settings import Settings

with compiled_when_used():
    from marshmallow import EXCLUDE, Schema, ValidationError, fields, validates_schema

LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that datetime (and so QGIS) can show

# As long as a character gets in JSON: two escaped surrogates.
CHARACTER_BYTES = 12
QUOTES = len('""')
COUNTED_BYTES = 2**17  # of a text that is too long: in more, not even its length is looked for
MAX_NUMBER_BYTES = 1000  # a double's largest integer has 309 digits
MAX_TIMESTAMP_BYTES = 100
MAX_IDENTIFIER_BYTES = 6 * len("urn:uuid:00000000-0000-0000-0000-000000000000") + QUOTES

Row = dict[str, fields.Field[Any]]  # a type's own fields, in the order in which they are sent


@functools.lru_cache(maxsize=1)
def schemas(settings: Settings) -> dict[str, Schema]:
    """What a client may send, by type."""
    return _schemas(settings, from_server=False)


def server_schemas(settings: Settings) -> dict[str, Schema]:
    """What the server alone sends, by type."""
    return _schemas(settings, from_server=True)


def _schemas(settings: Settings, *, from_server: bool) -> dict[str, Schema]:
    palette = Palette(settings)
    rows = [row for row in TYPES.values() if row.from_server_only is from_server]
    return {row.name: _schema(row, row.fields(palette)) for row in rows}


def _schema(type: MessageType, row: Row) -> Schema:
    head: Row = {
        "type": fields.Constant(type.name),
        "id": Identifier(load_default=new_id),
        "timestamp": Timestamp(load_default=now),
    }
    base = _checking(type.fault) if type.fault else Schema
    return base.from_dict(head | row, name=f"{type.name.capitalize()}Message")(unknown=EXCLUDE)


def _checking(fault: Callable[[Mapping[str, Any]], tuple[str, str] | None]) -> type[Schema]:
    class Checking(Schema):
        @validates_schema
        def _check_all(self, data: Mapping[str, Any], **_: Any) -> None:
            if found := fault(data):
                name, reason = found
                raise ValidationError(reason, name)

    return Checking


ErrorMessages = dict[str, str | list[Any] | dict[Any, Any]]

REQUIRED: ErrorMessages = {"required": MISSING, "null": "Must not be null."}

WRONG = object()  # what a field is that it cannot be, by its first byte or its length

_string = msgspec.json.Decoder(str | None).decode
_number = msgspec.json.Decoder(int | float | None).decode


def _decoded(raw: msgspec.Raw, decode: Callable[[msgspec.Raw], Any], max_bytes: float) -> Any:
    """The value, or `WRONG`: a typed decoder stops at the first byte of another type."""
    if len(raw) > max_bytes:
        return WRONG
    try:
        return decode(raw)
    except msgspec.DecodeError:
        return WRONG


class Text(fields.String):
    """A string of at most `longest` characters; an optional one is null when it is not given."""

    default_error_messages: ErrorMessages = REQUIRED | {"invalid": "Must be a text."}

    def __init__(self, longest: int | None, *, optional: bool = False) -> None:
        self.longest = longest
        self._longest = math.inf if longest is None else longest
        self._max_bytes = math.inf if longest is None else CHARACTER_BYTES * longest + QUOTES
        if optional:
            super().__init__(load_default=None, allow_none=True)
        else:
            super().__init__(required=True)

    def value_of(self, raw: msgspec.Raw) -> Any:
        """The string; None for null; raw if it is far too long; `WRONG` if it is no string."""
        if len(raw) > self._max_bytes:
            return raw if _is_string(raw) else WRONG
        try:
            return _string(raw)
        except msgspec.DecodeError:
            return WRONG

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        if value.__class__ is not str:
            return super().deserialize(value, attr, data, **kwargs)
        # What nearly all are, without marshmallow's detours.
        if len(value) > self._longest:
            self._refuse_longer(attr or "", len(value))
        return self._checked(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, msgspec.Raw):
            self._refuse_longer(attr or "", _length(value) if len(value) < COUNTED_BYTES else None)
        raise self.make_error("invalid")

    def _checked(self, text: str) -> str:
        """The text as it is passed on, found to be what it should be; its length is right."""
        return text

    def _refuse_longer(self, name: str, length: int | None) -> None:
        """Of how many characters it is; None if they were not counted."""
        raise ValidationError(too_long(name, length, self.longest or 0))


class VisibleText(Text):
    """A text in which something can be read."""

    def _checked(self, text: str) -> str:
        if is_blank(text):
            raise ValidationError("There is nothing to read in this text: write something.")
        return text


class FileName(Text):
    """A name that its receivers may give to a file; what no file name may hold becomes `_`."""

    def _checked(self, text: str) -> str:
        return file_name(text) if text or self.required else text


class IconName(Text):
    """The name of an icon that its receivers have; it leads nowhere else."""

    def _checked(self, text: str) -> str:
        return icon_name(text)


class LongText(Text):
    """A string of at most `longest` characters that is passed on as its sender wrote it, found well-formed.

    A photo's megabytes would otherwise be decoded and encoded again, while the front does nothing else.
    """

    def value_of(self, raw: msgspec.Raw) -> Any:
        return raw if _is_string(raw) else _decoded(raw, _string, math.inf)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, msgspec.Raw):
            raise self.make_error("invalid")
        if self.longest is not None and len(value) > self.longest + QUOTES:
            # Too long; or long in bytes alone, which only reading it shows.
            length = _length(value)
            if length > self.longest:
                self._refuse_longer(attr or "", length)
        return value

    def _refuse_longer(self, name: str, length: int | None) -> None:
        raise ValidationError(too_large(name, length or 0, self.longest or 0))


class Base64(LongText):
    """A file, of which four characters hold three bytes."""

    def _refuse_longer(self, name: str, length: int | None) -> None:
        raise ValidationError(too_large(name, (length or 0) * 3 // 4, (self.longest or 0) * 3 // 4))


class Nickname(Text):
    """ASCII letters, digits, `_` and `-`, with nothing around them."""

    FORM = re.compile(r"[A-Za-z0-9_-]*\Z")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.max_author_length)
        self.shortest = settings.min_author_length

    def _checked(self, text: str) -> str:
        if not self.FORM.match(text):
            other = next(character for character in text if not self.FORM.match(character))
            raise ValidationError(f"A nickname has only letters A-Z, digits, '_' and '-', no {excerpt(other)}.")
        if len(text) < self.shortest:
            self._refuse_length(len(text))
        return text

    def _refuse_longer(self, name: str, length: int | None) -> None:
        self._refuse_length(length)

    def _refuse_length(self, length: int | None) -> None:
        has = "far too many" if length is None else length
        raise ValidationError(f"A nickname has {self.shortest} to {self.longest} characters; this one has {has}.")


class Identifier(fields.Field[str]):
    """A UUID. In its usual form it is kept as its sender wrote it; other forms become the usual one.

    These are the forms that Qt, .NET and Python write: in braces, as a URN (RFC 9562 §4), without hyphens.
    """

    FORM = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")
    OTHER_FORMS = re.compile(
        rf"(?:\{{({FORM.pattern}|[0-9A-Fa-f]{{32}})\}}|(?i:urn:uuid:)({FORM.pattern})|([0-9A-Fa-f]{{32}}))"
    )

    def value_of(self, raw: msgspec.Raw) -> Any:
        return _decoded(raw, _string, MAX_IDENTIFIER_BYTES)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, str):
            if self.FORM.fullmatch(value):
                return value
            if found := self.OTHER_FORMS.fullmatch(value):
                return str(uuid.UUID(found[found.lastindex or 0]))
        raise ValidationError("Must be a UUID.")


def whole(value: Any) -> int | None:
    """A JSON number without a fraction, however it is written: 3.0 is 3 (RFC 8259 §6). None for all else."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None  # bool is an int to Python, not to JSON


class Timestamp(fields.Field[int]):
    """Whole seconds since the epoch."""

    default_error_messages = REQUIRED

    def value_of(self, raw: msgspec.Raw) -> Any:
        return _decoded(raw, _number, MAX_TIMESTAMP_BYTES)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        seconds = whole(value)
        if seconds is None or not 0 <= seconds <= LAST_SECOND:
            raise ValidationError("Must be whole seconds since the epoch.")
        return seconds


class Number(fields.Field[float]):
    """A finite number, kept as its sender wrote it: integer or not. Outside its bounds it is refused with the hint."""

    default_error_messages = REQUIRED

    def __init__(self, least: float | None = None, most: float | None = None, hint: str = "") -> None:
        super().__init__(required=True)
        self.bounds = None if least is None or most is None else (least, most)
        self._hint = hint

    def value_of(self, raw: msgspec.Raw) -> Any:
        return _decoded(raw, _number, MAX_NUMBER_BYTES)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if type(value) not in (int, float) or not _is_finite(value):
            raise ValidationError("Must be a finite number.")
        if self.bounds is not None and not self.bounds[0] <= value <= self.bounds[1]:
            least, most = self.bounds
            raise ValidationError(f"Must lie between {least:g} and {most:g}: {self._hint}.")
        number: float = value
        return number


class Document(fields.Field[msgspec.Raw]):
    """A JSON value that is passed on unread: well-formed, otherwise anything."""

    default_error_messages = REQUIRED

    def __init__(self) -> None:
        super().__init__(required=True)

    def value_of(self, raw: msgspec.Raw) -> Any:
        return raw


class Palette:
    """What the rows of the table of types are made of: fields, and groups of them that several types have."""

    text, visible_text, long_text, base64, file_name = Text, VisibleText, LongText, Base64, FileName
    number, timestamp, document = Number, Timestamp, Document
    integer, string = fields.Integer, fields.String  # of what the server says

    def __init__(self, limits: Settings) -> None:
        self.limits = limits
        self.nickname = Nickname(limits)
        self.signed: Row = {"author": self.nickname, "avatar": IconName(255, optional=True)}
        self.crs: Row = {"crs_wkt": Text(10_000), "crs_authid": Text(50)}
        self.reply: Row = {"in_reply_to_id": Identifier()}


def _is_string(raw: msgspec.Raw) -> bool:
    return memoryview(raw)[0] == ord('"')


def _length(string: msgspec.Raw) -> int:
    """Its length in characters: by its bytes alone where none is escaped, and all are ASCII."""
    written = bytes(string)
    return len(written) - QUOTES if written.isascii() and b"\\" not in written else len(_string(string) or "")


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond the range of a double
        return False
