"""A picture as a client sends it, made fit to be sent on: small, upright, and silent about its maker.

Pure: base64 text in, base64 text out. All that a file says besides its pixels (EXIF, GPS, XMP, IPTC, ICC,
comments) is left behind, because nothing but pixels is written anew.

`max_pixels` alone bounds time and memory here, and C libraries parse what strangers made, complaining of it on
the standard error: call it in a `worker.sandbox.Sandbox`, which bounds and silences them.
"""

import base64
import io
import logging
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import Resampling, Transpose
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from gischat.errors import Uncompliant

# Imported by name, or Pillow imports every plugin that it has on meeting the first TIFF or WebP.
_READERS = (PngImageFile, JpegImageFile, WebPImageFile, GifImageFile, BmpImageFile, TiffImageFile)
_FORMATS = tuple(str(reader.format) for reader in _READERS)

# Pillow's own limit warns at its value, raises at twice it, and is one for all callers. Ours is `max_pixels`.
Image.MAX_IMAGE_PIXELS = None
# Pillow logs what it finds in a file; people's files are not for our logs.
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)

_ORIENTATION = 0x0112  # of EXIF and TIFF
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

_SRGB = ImageCms.createProfile("sRGB")
_START_OF_SCAN = b"\xff\xda"
# A camera writes 1 to 10. Bytes behind the picture (a film, say) may look like some more.
_MOST_SCANS = 200
_JPEG_QUALITIES = (85, 75, 65, 50)

_NOT_BASE64 = "The image is not valid base64."
_UNSUPPORTED = "This image format is not supported: send PNG, JPEG, WebP, GIF, BMP or TIFF."
_UNREADABLE = "The image file is damaged, incomplete or of a kind that cannot be read here."
_DAMAGED = "The image file is damaged or incomplete."


def fit(image_data: str, *, max_size: int, max_pixels: int) -> str:
    """Returns the picture as a JPEG or PNG that fits max_size × max_size pixels, in base64 without line breaks.

    It is never enlarged, and keeps its aspect. Raises Uncompliant for what is no picture of a listed format,
    what is broken, and what has more than `max_pixels` pixels, which is known before they are decoded.
    """
    data = _decode(image_data)
    with warnings.catch_warnings(action="ignore"):  # they quote the file
        source, picture = _scaled(data, max_size, max_pixels)
        picture = _upright(_in_srgb(picture, source.info.get("icc_profile")), _orientation(source))
    picture.info.clear()
    budget = 8192 + max_size * max_size * 3 // 8  # bytes: 3 bits a pixel of the largest picture, 250 kB at 800
    encoded = _encoded(picture, budget, was_jpeg=isinstance(source, JpegImageFile))
    return base64.b64encode(encoded).decode("ascii")


def _decode(image_data: str) -> bytes:
    """Base64 as RFC 4648 §4 has it, with or without the line breaks of MIME."""
    try:
        # Four times as fast as the standard library, which would need a seventh of the time that a photo takes.
        data = msgspec.convert(image_data.replace("\r", "").replace("\n", ""), bytes)
    except (msgspec.ValidationError, UnicodeError):
        raise Uncompliant(_NOT_BASE64) from None
    if not data:
        raise Uncompliant("The image is empty.")
    return data


def _scaled(data: bytes, max_size: int, max_pixels: int) -> tuple[ImageFile, Image.Image]:
    """The opened file, and its picture at its final size in mode L, RGB, RGBA or CMYK."""
    _check_size(_webp_canvas(data), max_pixels)
    with _blaming_the_client(data):
        source = Image.open(io.BytesIO(data), formats=_FORMATS)
        _check_size(source.size, max_pixels)
        size = _fitted(source.size, max_size)
        _check_scans(data, source)
        draft = source.draft(None, size)  # JPEG alone: libjpeg leaves out the detail that scaling would lose
        source.load()
        plain = _plain(source)  # palettes and transparency are the file's too, and may be broken
    if plain.mode == "F":
        return source, _shallow(plain, size, is_light=isinstance(source, PngImageFile))
    return source, plain.resize(size, Resampling.LANCZOS, draft and draft[1], reducing_gap=2.0)


def _check_scans(data: bytes, source: ImageFile) -> None:
    """A progressive JPEG may have thousands of scans of a few bytes, each a walk over the whole picture."""
    if isinstance(source, JpegImageFile) and data.count(_START_OF_SCAN) > _MOST_SCANS:
        raise Uncompliant(f"The image has too many scans: at most {_MOST_SCANS} are allowed.")


@contextmanager
def _blaming_the_client(data: bytes) -> Iterator[None]:
    """Whatever a parser raises about a client's bytes is said to the client; want of memory is no word on them."""
    try:
        yield
    except (Uncompliant, MemoryError):
        raise
    except UnidentifiedImageError:
        raise Uncompliant(_UNREADABLE if _is_recognised(data) else _UNSUPPORTED) from None
    except Exception:
        raise Uncompliant(_DAMAGED) from None


def _is_recognised(data: bytes) -> bool:
    accepts = (Image.OPEN[name][1] for name in _FORMATS)
    return any(accept is not None and accept(data[:16]) is True for accept in accepts)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise Uncompliant(f"The image is too large: {width} × {height} pixels, at most {max_pixels} are allowed.")


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """The size that a WebP file says it has (RFC 9649 §2.5 to §2.7), (0, 0) for other files.

    libwebp reserves the whole canvas, up to 2 GB, before Pillow learns the size.
    """
    if not (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        return 0, 0
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case _:
            bits = int.from_bytes(data[26:30], "little")
            return bits & 0x3FFF, bits >> 16 & 0x3FFF


def _fitted(size: tuple[int, int], max_size: int) -> tuple[int, int]:
    width, height = size
    scale = min(1, max_size / max(size))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _plain(source: Image.Image) -> Image.Image:
    """In a mode that can be resampled: L, RGB, RGBA if something shines through, CMYK (its profile comes later).

    What has more than 8 bits is in mode F.
    """
    if source.mode.startswith(("I", "F")):
        return source.convert("F")
    if source.has_transparency_data:
        picture = source.convert("RGBA")
        is_opaque = picture.getchannel("A").getextrema() == (255, 255)
        return picture.convert("RGB") if is_opaque else picture
    if source.mode in ("L", "RGB", "CMYK"):
        return source
    return source.convert("L" if source.mode == "1" else "RGB")


def _shallow(deep: Image.Image, size: tuple[int, int], *, is_light: bool) -> Image.Image:
    """Values of mode F as greys.

    Those of a PNG are light and use 16 bits. Those of a TIFF are mostly elevations or measurements, and are shown as
    QGIS shows a raster band: stretched between the 2nd and the 98th percentile. What is no number is black.
    """
    values = memoryview(deep.resize(size, Resampling.BOX).tobytes()).cast("f")
    low, high = (0.0, 65535.0) if is_light else _percentiles(values)
    step = 255 / (high - low) if high > low else 0.0
    greys = (min(255, max(0, round((value - low) * step))) if math.isfinite(value) else 0 for value in values)
    return Image.frombytes("L", size, bytes(greys))


def _percentiles(values: Iterable[float]) -> tuple[float, float]:
    ordered = sorted(filter(math.isfinite, values)) or [0.0]
    cut = len(ordered) // 50
    return ordered[cut], ordered[-1 - cut]


def _in_srgb(picture: Image.Image, profile: Any) -> Image.Image:
    """Phones write Display P3, and viewers without its profile would show it pale. A bad profile is no profile."""
    target = "RGBA" if picture.mode == "RGBA" else "RGB"
    converted = picture
    if profile:
        with suppress(ImageCms.PyCMSError, TypeError, ValueError):
            transform = ImageCms.buildTransform(io.BytesIO(profile), _SRGB, picture.mode, target)
            converted = transform.apply(picture)
    return converted.convert("L" if picture.mode == "L" else target)


def _orientation(source: Image.Image) -> Any:
    """What the file says, if it can be read; a picture with broken EXIF is still a picture."""
    try:
        return source.getexif().get(_ORIENTATION)
    except MemoryError:
        raise
    except Exception:
        return None


def _upright(picture: Image.Image, orientation: Any) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _encoded(picture: Image.Image, budget: int, *, was_jpeg: bool) -> bytes:
    """PNG for transparency, and where its sharp letters and lines come cheap; else JPEG."""
    if picture.mode == "RGBA":
        return _png(picture)
    jpeg = _jpeg(picture, budget)
    if was_jpeg:
        return jpeg
    png = _png(picture)
    return png if len(png) <= min(budget, 3 * len(jpeg)) else jpeg


def _jpeg(picture: Image.Image, budget: int) -> bytes:
    """At the highest quality that keeps to the budget, which only grass and gravel exceed.

    Progressive, which takes time and spares a tenth: a room multiplies every byte.
    """
    for quality in _JPEG_QUALITIES:
        encoded = _saved(picture, "JPEG", quality=quality, progressive=True)
        if len(encoded) <= budget:
            break
    return encoded


def _png(picture: Image.Image) -> bytes:
    """With a palette where it holds every colour: Pillow's median cut gives each its own entry then."""
    most = {"L": 16, "RGB": 256}.get(picture.mode, 0)
    if most and picture.getcolors(most):
        picture = picture.quantize(most, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return _saved(picture, "PNG")


def _saved(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()
