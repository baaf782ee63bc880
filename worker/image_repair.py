"""Files that came in part, or carry more than a picture: what of them can be shown.

A viewer shows what has come of a photo or screenshot whose end is missing; so do we, from half of it on. Whole rows are
counted: a PNG's by their bytes, a JPEG's by the plain grey that libjpeg puts where nothing came (of a progressive one:
where not even the first, coarse scan did). The missing rows stay grey, so that everybody sees that it is not all.
The other formats are shown whole or not at all, as Qt shows them.
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
_MAX_METADATA = 1 << 20  # bytes, unpacked: Pillow's own limit, above which it refuses the picture
_ONCE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"eXIf"})
_EXIF_TEXT = b"Raw profile type exif\0"  # as ImageMagick has it
_GREY = 128
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type (PNG §6.1)


def check_share(share: float) -> None:
    """Raises Uncompliant if so little has come that there is nothing to see."""
    if share < _MIN_SHARE:
        raise Uncompliant(f"Only {int(100 * share)} % of this photo arrived: please send it again.")


def share_of_jpeg(picture: Image.Image) -> float:
    """How much of an incomplete JPEG came, from 0 to 1: all above the last rows of nothing but grey."""
    nothing = Image.new(picture.mode, picture.size, (_GREY,) * len(picture.getbands()))
    differs = ImageChops.difference(picture, nothing).point(lambda value: 255 * (value > 1))
    box = differs.getbbox(alpha_only=False)
    return box[3] / picture.height if box else 0.0


def slim_png(data: bytes) -> bytes:
    """A PNG's pixels, with its orientation and colour profile if they are of a sensible size, and nothing else.

    Of an animation the picture that stands for it; of what a PNG has once (PNG §5.6) the first. It has an end, even if
    the file has none. Raises ValueError if it does not begin with its header.
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
            seen.add(name)  # whether it is kept or not: no second is unpacked
            if _is_wanted(name, chunk[8:-4]):
                kept.append(chunk)
    return b"".join([PNG_SIGNATURE, *kept, _chunk(b"IDAT", b"".join(pixels)), _PNG_END])


def completed_png(slim: bytes) -> bytes | None:
    """The slim PNG with what is missing at its end filled up; None where the fault is another.

    Raises Uncompliant if too little is there. Of an interlaced one each pass is missing everywhere: that is no picture.
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
    """Each chunk up to the end, whole with its length and checksum; the last of a cut file is filled up by four."""
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IEND":
            return
        chunk = data[at : at + 12 + length]
        yield name, chunk if len(chunk) == 12 + length else chunk + bytes(4)
        at += 12 + length


def _is_known(name: bytes, chunk: bytes) -> bool:
    """Whether it may be kept: of texts those alone that are EXIF."""
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
