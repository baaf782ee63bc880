"""Repair of truncated PNG and JPEG files, and removal of everything but the picture from a PNG.

Like viewers, we show a photo or screenshot whose end is missing, if at least half of its rows arrived. A PNG's rows are
counted by their bytes, a JPEG's by the plain grey that libjpeg puts where data is missing (in a progressive JPEG: where
even the first, coarse scan is missing). Missing rows stay grey, so that everybody sees that the picture is incomplete.
Other formats are shown whole or not at all, as in Qt.
"""

import struct
import zlib
from collections.abc import Iterator

from PIL import Image, ImageChops

from gischat.errors import Uncompliant

_MIN_SHARE = 0.5  # of the rows
JPEG_END = b"\xff\xd9"

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB\x60\x82"
_MAX_CHUNKS = 50_000
_MAX_METADATA = 1 << 20  # bytes, uncompressed: Pillow's own limit, above which it refuses the picture
_ONCE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"eXIf"})
_EXIF_TEXT = b"Raw profile type exif\0"  # as written by ImageMagick
_GREY = 128
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type (PNG §6.1)


def check_share(share: float) -> None:
    """Raise Uncompliant if less than half of the picture arrived."""
    if share < _MIN_SHARE:
        raise Uncompliant(f"Only {int(100 * share)} % of this photo arrived: please send it again.")


def share_of_jpeg(picture: Image.Image) -> float:
    """The share of a truncated JPEG that arrived, from 0 to 1: everything above the grey rows at its end."""
    nothing = Image.new(picture.mode, picture.size, (_GREY,) * len(picture.getbands()))
    differs = ImageChops.difference(picture, nothing).point(lambda value: 255 * (value > 1))
    box = differs.getbbox(alpha_only=False)
    return box[3] / picture.height if box else 0.0


def slim_png(data: bytes) -> bytes:
    """Reduce a PNG to its pixels, and its orientation and colour profile if they have a sensible size.

    Of an animation only the default image is kept; of chunks that may occur once (PNG §5.6), the first. An IEND chunk
    is added if missing. Raises ValueError if the file does not begin with IHDR.
    """
    if data[12:16] != b"IHDR":
        raise ValueError("another chunk comes first")
    kept, pixels, seen = [], [], set()
    for number, (name, chunk) in enumerate(_chunks(data)):
        if number == _MAX_CHUNKS:
            raise ValueError("too many chunks")
        if name == b"IDAT":
            pixels.append(chunk[8:-4])
        elif name not in seen and _is_known(name, chunk):
            seen.add(name)  # even if it is not kept, so that no second one is uncompressed
            if _is_wanted(name, chunk[8:-4]):
                kept.append(chunk)
    return b"".join([PNG_SIGNATURE, *kept, _chunk(b"IDAT", b"".join(pixels)), _PNG_END])


def completed_png(slim: bytes) -> bytes | None:
    """Fill up the missing rows of a truncated slim PNG; None if it is broken otherwise.

    Raises Uncompliant if too little arrived. Interlaced PNGs are not completed: their missing passes leave gaps in
    every row.
    """
    chunks = list(_chunks(slim))
    width, height, depth, colour, interlaced = struct.unpack_from(">IIBBxxB", chunks[0][1], 8)
    row = 1 + (width * depth * _PNG_SAMPLES[colour] + 7) // 8
    unpacking = zlib.decompressobj()
    rows = unpacking.decompress(chunks[-1][1][8:-4], row * height)
    if interlaced or unpacking.eof or len(rows) >= row * height:
        return None
    whole = len(rows) // row
    check_share(whole / height)
    filling = bytes([0]) + bytes([_GREY if colour in (0, 2) and depth >= 8 else 0]) * (row - 1)
    rows = rows[: whole * row] + filling * (height - whole)
    return b"".join(
        [PNG_SIGNATURE, *(chunk for _, chunk in chunks[:-1]), _chunk(b"IDAT", zlib.compress(rows, 0)), _PNG_END]
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk with its length and checksum; four bytes are appended to the last chunk of a truncated file."""
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IEND":
            return
        chunk = data[at : at + 12 + length]
        yield name, chunk if len(chunk) == 12 + length else chunk + bytes(4)
        at += 12 + length


def _is_known(name: bytes, chunk: bytes) -> bool:
    """Whether a chunk may be kept; of text chunks, only those with EXIF."""
    return name in _ONCE or (name in (b"tEXt", b"zTXt") and chunk.startswith(_EXIF_TEXT, 8))


def _is_wanted(name: bytes, content: bytes) -> bool:
    match name:
        case b"IHDR" | b"PLTE" | b"tRNS":
            return True
        case b"eXIf":
            return len(content) <= _MAX_METADATA
        case b"iCCP":
            _, _, packed = content.partition(b"\0")
            return packed[:1] == b"\0" and _fits_unpacked(packed[1:])
        case b"tEXt":
            return len(content) <= _MAX_METADATA
        case b"zTXt":
            packed = content.removeprefix(_EXIF_TEXT)
            return packed[:1] == b"\0" and _fits_unpacked(packed[1:])
        case _:
            return False


def _fits_unpacked(packed: bytes) -> bool:
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed, _MAX_METADATA)
    except zlib.error:
        return False
    return not unpacking.unconsumed_tail


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))
