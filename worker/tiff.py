"""The first directory of a TIFF: reader, and writer of a simpler one for readers that support fewer kinds of TIFF.

TIFF 6.0 (1992) §2; BigTIFF as in libtiff. Raises ValueError or struct.error for other files.
"""

import struct
from collections.abc import Mapping, Sequence

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES, PLANAR = 273, 274, 277, 278, 279, 284
PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_SIZES = 317, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, ICC_PROFILE, GDAL_NODATA = 338, 339, 34675, 42113

# Including swapped bytes of the version, which Pillow accepts.
_MAGIC = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">", b"II\0*": "<", b"MM*\0": ">"}
# Field type -> struct's format. To Pillow, bytes of undefined type (7) are numbers.
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q"}
_FRACTIONS = frozenset({5, 10})
_MAX_TAGS = 4096


def is_tiff(data: bytes) -> bool:
    return data[:4] in _MAGIC


class Directory:
    """The tags of the first picture. `order` is the byte order in struct's notation, "<" or ">"."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.order = _MAGIC[data[:4]]
        self._is_big = data[2:4] in (b"+\0", b"\0+")
        at, count, head, entry = ("Q", "Q", "HHQ", 20) if self._is_big else ("I", "H", "HHI", 12)
        (first,) = self._unpack(at, 8 if self._is_big else 4)
        (number,) = self._unpack(count, first)
        if number > _MAX_TAGS:
            raise ValueError("too many tags")
        start = first + struct.calcsize(count)
        self._fields: dict[int, tuple[int, int, int]] = {}  # tag: type, count, position of its value or offset
        self._repeated: set[int] = set()
        self.fractions = 0  # number of fractions in all tags; their values cannot be read
        for place in range(start, start + number * entry, entry):
            tag, kind, length = self._unpack(head, place)
            if kind in _FRACTIONS:
                self.fractions = min(self.fractions + length, len(data) // 8)
            if tag in self._fields:
                self._repeated.add(tag)
            self._fields[tag] = (kind, length, place + struct.calcsize(self.order + head))

    def numbers(self, tag: int) -> tuple[int, ...]:
        """A tag's integers; empty if the tag is missing.

        Raises:
            ValueError: the tag contains no integers, or occurs twice, in which case readers differ.
        """
        kind, count, place = self._fields.get(tag, (4, 0, 0))
        if tag in self._repeated:
            raise ValueError(f"tag {tag} comes twice")
        if kind not in _NUMBERS:
            raise ValueError(f"tag {tag} holds no integers")
        self._check(count * struct.calcsize(_NUMBERS[kind]))
        code = f"{count}{_NUMBERS[kind]}"
        return self._unpack(code, self._value(place, struct.calcsize(self.order + code)))

    def number(self, tag: int, default: int) -> int:
        return next(iter(self.numbers(tag)), default)

    def text(self, tag: int) -> str:
        _, count, place = self._fields.get(tag, (2, 0, 0))
        start = self._value(place, count)
        return self._data[start : start + count].decode("latin-1").rstrip("\0 ")

    def __contains__(self, tag: int) -> bool:
        return tag in self._fields

    def _value(self, place: int, size: int) -> int:
        """The position of a value of that size, which is in the field itself if it fits."""
        if size <= (8 if self._is_big else 4):
            return place
        (offset,) = self._unpack("Q" if self._is_big else "I", place)
        return int(offset)

    def _check(self, size: int) -> None:
        if size > len(self._data):
            raise ValueError("more values than bytes")

    def _unpack(self, code: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + code, self._data, at)


def with_directory(data: bytes, order: str, tags: Mapping[int, Sequence[int]]) -> bytes:
    """Append a directory of these tags (as LONG) and make it the file's first; offsets in the file stay valid."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", len(data) + len(data) % 2)
    entries, values = [], b""
    behind = len(data) + len(data) % 2 + 2 + 12 * len(tags) + 4
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            values, packed = values + packed, struct.pack(order + "I", behind + len(values))
        entries.append(struct.pack(order + "HHI", tag, 4, len(numbers)) + packed)
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    return head + data[8:] + bytes(len(data) % 2) + directory + values
