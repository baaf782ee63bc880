"""Texts of megabytes, in pieces: they are checked while they arrive, and no step of the event loop handles all of one.

Joining, decoding, scanning and copying four megabytes takes a front seven milliseconds on a slow core, during which all
texts wait. Nearly all of a photo is base64: a piece that contains nothing else must be the inside of a JSON string.
Nearly all of a layer is JSON that can be checked in pieces: see `json_run`. The rest, without these pieces, is parsed
like any message.

LongTextBuilder   collects a text's bytes as they arrive
LongText          the text, with a stand-in for those pieces
Pieces            a message's body with those pieces, sliced on demand
"""

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from gischat.protocol.json_run import JsonRun

PIECE_BYTES = 2**16  # large enough to collect tiny fragments, small enough not to grow
MIN_PIECES = 2  # to take out: with fewer, parsing the whole is as fast
# Maximum of all other bytes, far more than photos have: any other text may have to be parsed twice
MAX_REST_BYTES = 2**19
PROBE_BYTES = 64  # checked first: most texts that are not base64 contain other characters there
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
ESCAPE_BYTES = len("\\u00e9")


class LongText(NamedTuple):
    """A text without consecutive pieces that have been checked."""

    before: bytes
    pieces: Sequence[bytearray]
    after: bytes
    text: str  # with the stand-in
    stand_in: bytes  # random, so that it occurs only once
    type: str  # of the messages that may contain such pieces

    @property
    def size(self) -> int:
        """Bytes of the whole text."""
        return len(self.before) + self.piece_bytes + len(self.after)

    @property
    def piece_bytes(self) -> int:
        return sum(map(len, self.pieces))

    def whole(self) -> str:
        """The whole text, joined in one step."""
        return b"".join((self.before, *self.pieces, self.after)).decode()


class Pieces:
    """Bytes in pieces; slices are made on demand."""

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
    """Collects the bytes of an unfinished message, and checks its pieces."""

    __slots__ = ("_first", "_json", "_pieces", "_stop", "size")

    def __init__(self) -> None:
        self._pieces: list[bytearray] = []
        self._first = self._stop = 0  # the first consecutive pieces that can be taken out
        self._json: JsonRun | None = None  # these pieces, if they are not base64
        self.size = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if self._pieces and len(self._pieces[-1]) + len(data) <= PIECE_BYTES:
            self._pieces[-1] += data
            return
        next_piece = self._check_last() if self._pieces else bytearray()
        next_piece += data
        self._pieces.append(next_piece)

    def _check_last(self) -> bytearray:
        """Check the last piece; returns its end, cut off, if that has to be checked with the next piece."""
        place, piece = len(self._pieces) - 1, self._pieces[-1]
        end = 0
        if not place:
            run = JsonRun()
            if end := run.begin(piece):
                self._json, self._first, self._stop = run, 1, 1
        if self._json is not None and self._stop == place:
            end = self._json.extend(piece)
            self._stop += bool(end)
        if self._json is None and self._stop in (0, place) and _is_base64(piece):
            if not self._stop:
                self._first = place
            self._stop = place + 1
        if not end:
            return bytearray()
        rest = piece[end:]
        del piece[end:]
        return rest

    def data(self) -> bytes:
        """All bytes so far."""
        return b"".join(self._pieces)

    def text(self) -> str | LongText:
        """The text so far.

        Raises:
            UnicodeDecodeError: it is not UTF-8.
        """
        taken = self._pieces[self._first : self._stop]
        if len(taken) < MIN_PIECES or self.size - sum(map(len, taken)) > MAX_REST_BYTES:
            return self.data().decode()
        before, after = b"".join(self._pieces[: self._first]), b"".join(self._pieces[self._stop :])
        if self._json is None and b"\\" in before[-ESCAPE_BYTES:]:
            return self.data().decode()  # base64 may complete an escape, or be no valid end of one
        stand_in, type = secrets.token_hex().encode(), "image"
        if self._json is not None:
            stand_in, type = self._json.stand_in(stand_in), "geojson"
        return LongText(before, taken, after, (before + stand_in + after).decode(), stand_in, type)


def _is_base64(piece: bytearray) -> bool:
    return not piece[:PROBE_BYTES].translate(None, BASE64) and not piece.translate(None, BASE64)
