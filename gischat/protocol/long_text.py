"""Texts of megabytes, in pieces: a photo is checked while it comes, and no step of the event loop handles all of it.

To join four megabytes, decode, scan and copy them takes a front seven milliseconds on a slow core, while every text
waits. Nearly all of a photo is base64: a piece that holds nothing else is the inside of a string wherever JSON may hold
it, and looked at once. What is left when these pieces are taken out is read as any message is.

LongTextBuilder   takes a text's bytes as they come
LongText          the text, with a mark in place of those pieces
Pieces            a message's body with them in it, cut as it is needed
"""

import secrets
from collections.abc import Sequence
from typing import NamedTuple

PIECE_BYTES = 2**16  # neither an object for each tiny fragment, nor one that has to grow
MIN_PIECES = 2  # that are taken out: of less, the whole is read as fast
# Beside them, far more than a photo has: what is no photo may have to be read once more, as a whole.
MAX_REST_BYTES = 2**19
PROBE_BYTES = 64  # most that is not base64 shows it at once
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


class LongText(NamedTuple):
    """A text of which consecutive pieces, all base64, are kept apart."""

    before: bytes
    pieces: Sequence[bytearray]
    after: bytes
    text: str  # with the mark in place of the pieces
    mark: bytes  # nobody could know it: it stands in no other place

    @property
    def size(self) -> int:
        """Bytes of the whole."""
        return len(self.before) + self.piece_bytes + len(self.after)

    @property
    def piece_bytes(self) -> int:
        return sum(map(len, self.pieces))

    def whole(self) -> str:
        """The text as it was sent, in one step."""
        return b"".join((self.before, *self.pieces, self.after)).decode()


class Pieces:
    """Bytes that lie in pieces; a slice of them is made when it is asked for."""

    __slots__ = ("_pieces", "_size")

    def __init__(self, pieces: Sequence[bytes | bytearray]) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, wanted: slice) -> bytes:
        start, stop, _ = wanted.indices(self._size)
        found, at = [], 0
        for piece in self._pieces:
            if at < stop and start < at + len(piece):
                found.append(memoryview(piece)[max(start - at, 0) : stop - at])
            at += len(piece)
        return b"".join(found)

    def __bytes__(self) -> bytes:
        return self[:]


class LongTextBuilder:
    """The bytes of a message that has not come wholly, and which of its pieces are base64."""

    __slots__ = ("_first", "_pieces", "_stop", "size")

    def __init__(self) -> None:
        self._pieces: list[bytearray] = []
        self._first = self._stop = 0  # of the first pieces in a row that are base64
        self.size = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if self._pieces and len(self._pieces[-1]) + len(data) <= PIECE_BYTES:
            self._pieces[-1] += data
            return
        if self._pieces:
            self._look_at_last()
        self._pieces.append(bytearray(data))

    def _look_at_last(self) -> None:
        place = len(self._pieces) - 1
        if self._stop in (0, place) and _is_base64(self._pieces[place]):
            if not self._stop:
                self._first = place
            self._stop = place + 1

    def data(self) -> bytes:
        """All that has come."""
        return b"".join(self._pieces)

    def text(self) -> str | LongText:
        """All that has come.

        Raises:
            UnicodeDecodeError: it is no UTF-8.
        """
        taken = self._pieces[self._first : self._stop]
        if len(taken) < MIN_PIECES or self.size - sum(map(len, taken)) > MAX_REST_BYTES:
            return self.data().decode()
        before, after = b"".join(self._pieces[: self._first]), b"".join(self._pieces[self._stop :])
        mark = secrets.token_hex().encode()
        return LongText(before, taken, after, (before + mark + after).decode(), mark)


def _is_base64(piece: bytearray) -> bool:
    return not piece[:PROBE_BYTES].translate(None, BASE64) and not piece.translate(None, BASE64)
