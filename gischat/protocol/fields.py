"""The fields of messages, as marshmallow's.

A field is read in two steps. `value_of` takes it from JSON; it builds no value that the field cannot have, by its
length and its type, so no value costs more than its scan. `deserialize` checks it, with reasons for its sender.
"""

import math
import re
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from gischat.protocol.file_names import file_name, icon_name
from gischat.protocol.lazy_patterns import compiled_when_used
from gischat.protocol.wording import MISSING, excerpt, is_blank, too_large, too_long
from gischat.settings import Settings

with compiled_when_used():
    from marshmallow import ValidationError, fields

LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that datetime (and so QGIS) can show

# The longest form of a character in JSON: two escaped surrogates.
CHARACTER_BYTES = 12
QUOTES = len('""')
COUNTED_BYTES = 2**17  # of a text that is too long; in more bytes, its characters are not counted
MAX_NUMBER_BYTES = 1000  # a double's largest integer has 309 digits
MAX_TIMESTAMP_BYTES = 100
MAX_IDENTIFIER_BYTES = 6 * len("urn:uuid:00000000-0000-0000-0000-000000000000") + QUOTES

ErrorMessages = dict[str, str | list[Any] | dict[Any, Any]]

REQUIRED: ErrorMessages = {"required": MISSING, "null": "Must not be null."}

WRONG = object()  # the value of a field with an impossible type (by its first byte) or length

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
        # Nearly all texts, without marshmallow's detours.
        if len(value) > self._longest:
            self._refuse_longer(attr or "", len(value))
        return self._checked(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, msgspec.Raw):
            self._refuse_longer(attr or "", _length(value) if len(value) < COUNTED_BYTES else None)
        raise self.make_error("invalid")

    def _checked(self, text: str) -> str:
        """Check a text of valid length; returns it as it is passed on."""
        return text

    def _refuse_longer(self, name: str, length: int | None) -> None:
        """Refuse a text of so many characters; None if they were not counted."""
        raise ValidationError(too_long(name, length, self.longest or 0))


class VisibleText(Text):
    """A text with something to read in it."""

    def _checked(self, text: str) -> str:
        if is_blank(text):
            raise ValidationError("There is nothing to read in this text: write something.")
        return text


class FileName(Text):
    """A name that receivers may give to a file; characters that no file name may contain become `_`."""

    def _checked(self, text: str) -> str:
        return file_name(text) if text or self.required else text


class IconName(Text):
    """The name of an icon that the receivers have; it cannot be a path."""

    def _checked(self, text: str) -> str:
        return icon_name(text)


class LongText(Text):
    """A string of at most `longest` characters that is well-formed and passed on as its sender wrote it.

    To decode and encode a photo's megabytes would block the front.
    """

    def value_of(self, raw: msgspec.Raw) -> Any:
        return raw if _is_string(raw) else _decoded(raw, _string, math.inf)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, msgspec.Raw):
            raise self.make_error("invalid")
        if self.longest is not None and len(value) > self.longest + QUOTES:
            # Too long, or only long in bytes: decoding it shows which.
            length = _length(value)
            if length > self.longest:
                self._refuse_longer(attr or "", length)
        return value

    def _refuse_longer(self, name: str, length: int | None) -> None:
        raise ValidationError(too_large(name, length or 0, self.longest or 0))


class Base64(LongText):
    """A file; four characters contain three bytes."""

    def _refuse_longer(self, name: str, length: int | None) -> None:
        raise ValidationError(too_large(name, (length or 0) * 3 // 4, (self.longest or 0) * 3 // 4))


class Nickname(Text):
    """ASCII letters, digits, `_` and `-`, without surrounding whitespace."""

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
    """A UUID. The usual form is kept as its sender wrote it; other forms are converted to it.

    Other forms are those of Qt, .NET and Python: in braces, as a URN (RFC 9562 §4), without hyphens.
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
    """A JSON number without a fraction, however it is written: 3.0 is 3 (RFC 8259 §6). None for any other value."""
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
    """A finite number, kept as its sender wrote it, integer or not; `hint` is the advice if it is out of bounds."""

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
    """Any well-formed JSON value; it is passed on unread."""

    default_error_messages = REQUIRED

    def __init__(self) -> None:
        super().__init__(required=True)

    def value_of(self, raw: msgspec.Raw) -> Any:
        return raw


def _is_string(raw: msgspec.Raw) -> bool:
    return memoryview(raw)[0] == ord('"')


def _length(string: msgspec.Raw) -> int:
    """Its length in characters, without decoding it if all are ASCII and none is escaped."""
    written = bytes(string)
    return len(written) - QUOTES if written.isascii() and b"\\" not in written else len(_string(string) or "")


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond the range of a double
        return False
