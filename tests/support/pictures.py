"""Pictures: photos, drawings, and files that pretend to be pictures."""

import base64
import io
import struct
import zlib
from typing import Any

from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ORIENTATION, _DESCRIPTION, _GPS = 0x0112, 0x010E, 0x8825

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (250, 250, 250)


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def opened(image_data: str) -> Image.Image:
    """Decode `image_data` as a client does."""
    picture = Image.open(io.BytesIO(base64.b64decode(image_data, validate=True)))
    picture.load()
    return picture


def encoded(picture: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def quarters(width: int, height: int) -> Image.Image:
    """A shaded picture of red and green quarters over blue and white ones, which shows its orientation."""
    picture = Image.new("RGB", (2, 2))
    picture.putdata([RED, GREEN, BLUE, WHITE])
    shaded = picture.resize((width, height), Image.Resampling.NEAREST)
    shade = Image.linear_gradient("L").resize((width, height))
    return Image.blend(shaded, Image.merge("RGB", (shade, shade, shade)), 0.1)


def phone_photo(width: int, height: int, *, orientation: int, description: str) -> bytes:
    """A JPEG as from a phone: unrotated, with EXIF orientation and GPS position."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    exif[_DESCRIPTION] = description
    exif.get_ifd(_GPS).update({1: "N", 2: (48.0, 51.0, 24.0), 3: "E", 4: (2.0, 21.0, 3.0)})
    return encoded(quarters(width, height), "JPEG", quality=88, exif=exif)


def bomb_png(width: int, height: int) -> bytes:
    """A PNG of a hundred bytes that claims that size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0")) + _chunk(b"IEND", b"")


def png_of_exactly(size: int) -> bytes:
    """A small valid PNG of exactly that many bytes, padded by a private ancillary chunk (PNG §4.7)."""
    end = _chunk(b"IEND", b"")
    body = encoded(Image.new("RGB", (8, 8), RED), "PNG").removesuffix(end)
    filling = size - len(body) - len(end) - len(_chunk(b"giSc", b""))
    return body + _chunk(b"giSc", bytes(filling)) + end


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


TINY_PNG = as_base64(encoded(Image.new("RGB", (4, 3), BLUE), "PNG"))
