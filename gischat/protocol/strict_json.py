"""Strict decoder of JSON objects (RFC 8259): no NaN, no lone surrogates, limited depth; and diagnosis of invalid ones.

Only known members are kept, undecoded; everything else is scanned without building objects. On a slow core, scanning
takes half a nanosecond per byte of letters, 5 of the densest brackets, 8 of the shortest unknown keys, and 20 if a
known key is repeated a million times.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from gischat.errors import Uncompliant
from gischat.protocol.wording import NOUNS, sentence

NO_OBJECT = "The message must be a JSON object."
NO_JSON = "The message is not valid JSON"
TOO_DEEP = "The message is nested too deeply."
NO_UTF8 = "The message is not written in UTF-8."

MAX_DIAGNOSED_BYTES = 2**14  # for longer messages, reasons may not name the field: the search takes milliseconds
MAX_DIAGNOSED_MEMBERS = 16  # more than any type has; each takes two microseconds

_BYTE_ORDER_MARK = "\ufeff"
_KEY = re.compile(rb'[\s,{]{0,100}"([^"\\]{1,50})"\s{0,100}:\s{0,100}')
_PLACE = re.compile(r"\(byte (\d+)\)")
_NO_NUMBER = re.compile(rb"-?(?:nan|inf(?:inity)?)\b", re.IGNORECASE)
_HALF_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u)")


class ObjectDecoder:
    """Decodes objects and keeps their known members."""

    def __init__(self, names: Iterable[str]) -> None:
        # A key is compared with one name after the other. The shortest, which can be repeated most, come first.
        members = [(name, msgspec.Raw, None) for name in sorted(names, key=len)]
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Members", members, gc=False))

    def decode(self, frame: str | bytes) -> Any:
        """Decode an object; its members are attributes of the result, each an undecoded `msgspec.Raw`, or None.

        The last of duplicate keys counts. A byte order mark is skipped.

        Raises:
            Uncompliant: the frame is no JSON object, or not UTF-8.
        """
        try:
            # Decoded first, since msgspec does not check the UTF-8 of members that it only scans.
            text = frame.decode() if isinstance(frame, bytes) else frame
            return self._decoder.decode(text[1:] if text.startswith(_BYTE_ORDER_MARK) else text)
        except msgspec.ValidationError:
            raise Uncompliant(NO_OBJECT) from None
        except RecursionError:
            raise Uncompliant(TOO_DEEP) from None
        except UnicodeDecodeError as error:
            raise _undecodable(error) from None
        except UnicodeEncodeError:  # a lone surrogate in a Python string; never received
            raise Uncompliant(NO_UTF8) from None
        except msgspec.DecodeError as error:
            raise _explained(text.removeprefix(_BYTE_ORDER_MARK).encode(), str(error)) from None


def _undecodable(error: UnicodeDecodeError) -> Uncompliant:
    data = error.object[: error.start]
    field = None
    if len(data) <= MAX_DIAGNOSED_BYTES:
        field, _ = _unfinished(data.removeprefix(_BYTE_ORDER_MARK.encode()))
    return _uncompliant(NO_UTF8, field, "Must be written in UTF-8.")


def _explained(data: bytes, error: str) -> Uncompliant:
    found = _PLACE.search(error)
    place = int(found[1]) if found else len(data)
    number = _NO_NUMBER.search(data, max(place - 1, 0), place + 8)
    is_half = "surrogate" in error
    field, start = None, 0
    if len(data) <= MAX_DIAGNOSED_BYTES:
        field, start = _unfinished(data)
        # msgspec reports a high surrogate without a low one as the end of the data, or of an escape.
        is_half |= (found is None or "hex escape" in error) and _has_half_pair(data[start : place + 1])
    if is_half:
        half = "half of an emoji or letter (a lone surrogate)"
        return _uncompliant(f"{NO_JSON}: it holds {half}.", field, f"Must not hold {half}.")
    if number is not None:
        shown = number[0].decode()
        return _uncompliant(f"{NO_JSON}: it holds {shown}, which is no number.", field, f"Must not hold {shown}.")
    return Uncompliant(f"{NO_JSON}.")


def _unfinished(data: bytes) -> tuple[str | None, int]:
    """The known member whose value is invalid or truncated, and that value's offset; (None, 0) if there is none."""
    place = 0
    for _ in range(MAX_DIAGNOSED_MEMBERS):
        key = _KEY.match(data, place)
        if key is None:
            break
        try:
            msgspec.json.decode(memoryview(data)[key.end() :], type=msgspec.Raw)
            break
        except RecursionError:
            break
        except msgspec.DecodeError as error:
            trailing = _PLACE.search(str(error)) if "trailing characters" in str(error) else None
            if trailing is None:
                name = key[1].decode(errors="replace")
                return (name if name in NOUNS else None), key.end()
            place = key.end() + int(trailing[1]) - 1  # the character after the value
    return None, 0


def _has_half_pair(data: bytes) -> bool:
    """Whether there is an escaped high surrogate without a low one; `\\\\ud83d` is none."""
    return any(_is_escape(data, found.start()) for found in _HALF_PAIR.finditer(data))


def _is_escape(data: bytes, place: int) -> bool:
    """Whether a backslash is not itself escaped: it follows an even number of others."""
    before = data[max(place - 1000, 0) : place]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 0


def _uncompliant(reason: str, field: str | None, fault: str) -> Uncompliant:
    return Uncompliant(reason) if field is None else Uncompliant(sentence(field, fault), {field: fault})
