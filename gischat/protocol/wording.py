"""Wording of reasons for users: fields, sizes, lengths, and which message is meant."""

import re

import msgspec

from gischat.protocol.types import EMPTY_EXTENT, SIDES

NOT_A_NUMBER = "Must not hold NaN."
MISSING = "Missing."  # of a field; in HTTP answers such faults have their own type

# Field -> its name for users, after "the" or "this".
NOUNS = {
    "type": "type",
    "id": "message's id",
    "timestamp": "timestamp",
    "in_reply_to_id": "id of the message replied to",
    "author": "nickname",
    "newcomer": "nickname",
    "exiter": "nickname",
    "liker_author": "nickname",
    "liked_author": "liked nickname",
    "avatar": "avatar",
    "text": "text",
    "message": "liked text",
    "image_data": "photo",
    "layer_name": "layer's name",
    "geojson": "layer",
    "style": "layer's style",
    "crs_wkt": "CRS definition (crs_wkt)",
    "crs_authid": "CRS code (crs_authid)",
    "xmin": "extent's xmin",
    "xmax": "extent's xmax",
    "ymin": "extent's ymin",
    "ymax": "extent's ymax",
    "x": "position's x",
    "y": "position's y",
    "accuracy": "position's accuracy",
    "until": "time until which the position is shared (until)",
    "model_name": "model's name",
    "model_group": "model's group",
    "raw_xml": "model",
    "name": "script's name",
    "raw_pycode": "script",
}

MAX_EXCERPT = 40  # characters
EXCERPT_BYTES = 12 * MAX_EXCERPT + 24  # enough if each character is written as two escaped surrogates
HEAD_LENGTH = 4000  # characters of a message that are searched for its text

_IS_TEXT = re.compile(r'"type"\s*:\s*"text"')
_TEXT = re.compile(r'"text"\s*:\s*"')
_STRING = re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL)
_QUOTED = " Your text: "

# A visible character, as a regular expression of any dialect. All others are spaces, control and format characters
# (Unicode's Z and C, as of version 16), and invisible letters and marks: braille blank, fillers, grapheme joiner,
# variation selectors.
VISIBLE = (
    "[^\0-\x20\x7f-\xa0\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u1680\u17b4\u17b5"
    "\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
    "\U000e0020-\U000e007f]"
)
_VISIBLE = re.compile(VISIBLE)


def sentence(name: str, fault: str) -> str:
    """A field's fault as a whole sentence: adds the subject to faults like `Must be a text.`"""
    noun = _noun(name)
    if name in SIDES and fault == NOT_A_NUMBER:  # newer QGIS' extent of nothing
        return EMPTY_EXTENT
    if fault == MISSING:
        return f"The {noun} is missing."
    if fault.startswith("Must "):
        return f"The {noun} m{fault[1:]}"
    return fault


def _noun(field: str) -> str:
    return NOUNS.get(field, field)


def too_long(name: str, length: int | None, longest: int) -> str:
    """The reason for too many characters; a length of None was not counted, as there are far too many."""
    has = "far too many" if length is None else length
    return f"This {_noun(name)} has {has} characters; at most {longest} can be sent here."


def too_large(name: str, size: int, largest: int) -> str:
    """The reason for too many bytes, in MB of 10⁶ as in file managers, rounded so that the size exceeds the limit."""
    unit, step = next(
        (unit, step) for unit, step in (("MB", 100_000), ("kB", 100), ("bytes", 0)) if largest >= step * 10
    )
    if not step:
        return f"This {_noun(name)} has {size} bytes; at most {largest} can be sent here."
    tenths, most = -(-size // step), largest // step
    return f"This {_noun(name)} has {_tenths(tenths)} {unit}; at most {_tenths(most)} {unit} can be sent here."


def _tenths(number: int) -> str:
    return f"{number // 10}.{number % 10}"


def excerpt(text: str, length: int = MAX_EXCERPT) -> str:
    """Quote a client's text for a reason: shortened and printable."""
    shown = text if len(text) <= length else text[: length - 1] + "…"
    return "'" + "".join(character if character.isprintable() else "�" for character in shown) + "'"


def quoting(reason: str, said: str | bytes) -> str:
    """Append the beginning of the refused text to a reason, since its sender may have sent several.

    Args:
        said: the message, as received or as it would be published; without a text in it, the reason is unchanged.
    """
    cut = said[:HEAD_LENGTH]
    head = cut if isinstance(cut, str) else cut.decode(errors="replace")
    found = _TEXT.search(head)
    if found is None or _QUOTED in reason or not _IS_TEXT.search(head):
        return reason
    text = beginning(head[found.end() :])
    return reason if is_blank(text) else f"{reason}{_QUOTED}{excerpt(text)}"


def beginning(written: str | bytes | memoryview) -> str:
    """Decode the beginning of a JSON string, given without its opening quotation mark, and possibly truncated."""
    head = written[:EXCERPT_BYTES]
    letters = _STRING.match(head if isinstance(head, str) else bytes(head).decode(errors="ignore"))
    inside = letters[0] if letters else ""
    for end in range(len(inside), max(len(inside) - 12, 0), -1):  # an escape or a surrogate pair may be truncated
        try:
            return str(msgspec.json.decode(f'"{inside[:end]}"'))
        except (msgspec.DecodeError, UnicodeError):
            continue
    return inside


def is_blank(text: str) -> bool:
    """Whether a text has no visible character: only spaces of any script, formatting, fillers, or nothing."""
    return _VISIBLE.search(text) is None
