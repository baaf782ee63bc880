"""The headers of a JPEG 2000: where its codestream begins, and how often the picture can be halved."""

import struct

_MAX_BOXES = 5000  # before the codestream; a picture has ten


class TooManyBoxes(Exception):
    """The file has more boxes before its pixels than any real picture."""


def halvings(size: tuple[int, int], ratio: int, levels: int) -> int:
    """How many of the finest resolution levels to skip for a picture that is shown `ratio` times smaller.

    Each level rounds a side up (ISO/IEC 15444-1 B-15). Pillow rounds once, to the nearest integer, and rejects a
    picture that is larger, such as one of 3201 pixels that is halved twice.
    """
    found = min(max(ratio, 1).bit_length() - 1, levels)
    while any(0 < side % 2**found < 2**found // 2 for side in size):
        found -= 1
    return found


def levels(data: bytes) -> int:
    """The number of decomposition levels: how often the picture can be halved (ITU-T T.800 §A.6.1)."""
    at = data.find(b"\xff\x52", codestream(data))
    return data[at + 9] if at >= 0 else 0


def codestream(data: bytes) -> int:
    """The offset of the codestream, after the boxes of a JP2 file (§I.4)."""
    at = 0
    if data.startswith(b"\xff"):
        return at
    for _ in range(_MAX_BOXES):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"jp2c":
            return at + (16 if length == 1 else 8)
        at += max(8, struct.unpack_from(">Q", data, at + 8)[0] if length == 1 else length)
    raise TooManyBoxes
