"""A run of JSON in a long text, as a layer's features: checked in pieces while it arrives, and left out of the rest.

A piece ends at a *cut*, after a comma outside of strings. There, a parser knows no more than which arrays and objects
are open, the *stack*, and that an item must follow. So a piece is checked as a text of its own: brackets that open the
stack before it, the piece, an item, and brackets that close the stack after it. msgspec decides whether that is valid,
as strictly as for whole messages. Cuts and stacks may therefore be guessed: with a wrong guess, the text is invalid. So
it is if the piece closes the first container of the stack, the *base*.

The rest of the message is parsed with a stand-in for the run, which leads a parser to the same state: an item with a
random mark, brackets that close the run's first stack down to the base, an item, and brackets that open the run's last
stack. If that is valid, and the whole stand-in is within one member's value, then so it is with the run in its place:

- Before the run there is no other stack: the closing brackets would not match it, or the item not the base.
- It is not in a string: the mark's quotation mark would end the string, and a letter or digit would follow.
  (The mark is not behind a backslash, but behind a comma.)
- What follows it is parsed in the same state.
- The base is neither closed nor outside of the value, since the stand-in has commas there.

Only the limit of nesting is another one, because what is around the base is left out. Workers' limit is lower.
"""

import re
from collections.abc import Iterator

import msgspec

MAX_DEPTH = 12  # of the stack, and of what a piece opens and closes; from the base on, GeoJSON's geometries need 8
CREDIT = 8  # bounds searches for stacks, which take longer than checks: each costs 2, a piece that needs none earns 1

_BRACKETS = b"[]{}"
_OTHERS = bytes(byte for byte in range(256) if byte not in _BRACKETS + b'"')
_CLOSING = bytes.maketrans(b"[{", b"]}")
_CUT = re.compile(rb'[\]}],\s{0,100}["\[{]?')
_scan = msgspec.json.Decoder(msgspec.Raw).decode


class JsonRun:
    """Consecutive pieces in an array or object of the second level or below."""

    __slots__ = ("_credit", "_first", "_last", "_like")

    def __init__(self) -> None:
        self._first = self._last = b""  # the stacks before the first piece and after the last, from the base on
        self._like = b""  # the text at the last cut: at others like it, the stack is probably the same
        self._credit = CREDIT

    def begin(self, text: bytearray) -> int:
        """Begin the run at a cut in the message's first bytes; returns its place, or 0 if there is none."""
        for cut, stack in _cuts(text, b""):
            self._first = stack[1:]
            self._end_at(text, cut, self._first)
            return cut if self._first else 0
        return 0

    def extend(self, data: bytearray) -> int:
        """Extend the run as far as a cut in `data`, which follows it; returns its place, or 0 if that is no part."""
        cut = data.rfind(self._like) + 2
        if cut >= 2 and self._is_part(data[:cut], self._last):
            self._credit += 1
            return cut
        self._credit -= 2
        for cut, stack in _cuts(data, self._last) if self._credit > 0 else ():
            if self._is_part(data[:cut], stack):
                self._end_at(data, cut, stack)
                return cut
        return 0

    def _is_part(self, piece: bytearray, stack: bytes) -> bool:
        """Whether the run can be extended by a piece that ends with that stack."""
        text = b"".join((_opening(self._last), piece, _item(stack[-1:]), _closing(stack)))
        try:
            text.decode()  # msgspec does not check the UTF-8 of what it only scans
            _scan(text)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return False
        return True

    def _end_at(self, data: bytearray, cut: int, stack: bytes) -> None:
        found = _CUT.match(data, cut - 2)
        self._like, self._last = found[0] if found else b"", stack

    def stand_in(self, mark: bytes) -> bytes:
        """What takes the place of the run, with a mark of letters and digits in it."""
        base, above = self._first[:1], self._last[1:]
        down = _item(self._first[-1:], b'"%s"' % mark) + _closing(self._first[1:]) + b"," + _item(base) + b","
        return down + _item(base, _opening(above)) if above else down


def _cuts(data: bytearray, stack: bytes) -> Iterator[tuple[int, bytes]]:
    """Probable cuts in data that begins with that stack, the last first, and their stacks."""
    stop = len(data)
    for _ in range(3):
        place = data.rfind(b"},", stop // 2, stop)  # between features, for example: there, the stack is mostly the same
        if place < 0:
            place = data.rfind(b"],", 0, stop)
        if place < 0:
            return
        cut = place + 2
        if found := _stack(stack, data[:cut]):
            yield cut, found
        stop = data.rfind(b'"', 0, cut) + 1  # if that is no cut, it is in a string


def _stack(stack: bytes, data: bytearray) -> bytes:
    """The stack after data that begins with that stack; empty if the data is invalid, or ends in a string."""
    plain = bytes(data).replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHERS)
    if plain.count(b'"') % 2:
        return b""
    # Without pairs of quotation marks, what is in strings still is: there are just fewer parts.
    brackets = stack + b"".join(plain.replace(b'""', b"").split(b'"')[::2])
    for _ in range(MAX_DEPTH):
        size = len(brackets)
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(brackets) == size:
            break
    return brackets if len(brackets) <= MAX_DEPTH and not brackets.translate(None, b"[{") else b""


def _opening(stack: bytes) -> bytes:
    """Brackets that open this stack, with an item in the last."""
    return stack[:1] + _item(stack[:1], _opening(stack[1:]) if stack[1:] else b"0,")


def _closing(stack: bytes) -> bytes:
    return stack[::-1].translate(_CLOSING)


def _item(container: bytes, value: bytes = b"0") -> bytes:
    """A value as an item of an array, or as a member of an object."""
    return b'"":' + value if container == b"{" else value
