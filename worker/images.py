"""Image processing: scales a client's picture, applies its orientation, and drops all metadata.

Pure: base64 text in, base64 text out. Metadata (EXIF, GPS, XMP, IPTC, ICC, comments) is dropped because only pixels are
encoded again.

`max_pixels` and a predicted time bound the cost. But C libraries parse untrusted files here, and print complaints to
the standard error: run this in a `worker.sandbox.Sandbox`, which limits and silences them.

    image_formats   the formats that can be read, and the reasons for refusing others
    image_costs     cost prediction from a file's headers
    image_repair    incomplete files, and PNGs that contain more than a picture
    rasters         TIFFs of measurements, rendered as in QGIS
"""

import base64
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.Image import Resampling, Transpose
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from gischat.errors import Uncompliant
from worker import image_formats, image_repair, jpeg2000, rasters, stretching
from worker.image_costs import Estimate, TakesLonger, estimate

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

_MAX_EXIF = 1 << 18  # bytes; a phone's EXIF, with a thumbnail, has 64 kB

_SRGB = ImageCms.createProfile("sRGB")
_JPEG_QUALITIES = (85, 75, 65, 50)
# Predicted CPU time. A phone's photo of 12 megapixels takes 0.2; one of 48 megapixels in HEIC, or of 64 in a
# progressive JPEG, takes nearly 2. The worst JPEGs that pass take 1.6: half of JOB_SECONDS' default on a core three
# times slower.
_MAX_SECONDS = 2.0
_TILES_BEYOND = 1.5  # times max_pixels: the tiles at two edges of a TIFF are partly empty

_NOT_BASE64 = "The image is not valid base64."
_DAMAGED = "The image file is damaged or incomplete."
_TILES_TOO_LARGE = "The tiles of this TIFF are too large: save it with tiles of 256 × 256 pixels, and send that."
_TOO_LONG = "This picture takes too long to open here: save it as an ordinary JPEG, or make it smaller, and send that."


@dataclass(frozen=True)
class _Opened:
    """A picture at its final size in mode L, LA, RGB, RGBA or CMYK, with its file's colour profile and orientation."""

    picture: Image.Image
    profile: Any = None
    orientation: Any = None
    was_jpeg: bool = False


def fit(image_data: str, *, max_size: int, max_pixels: int, most_seconds: float = math.inf) -> str:
    """Scale a picture to fit max_size × max_size pixels; returns a JPEG or PNG in base64 without line breaks.

    It is never enlarged, and keeps its aspect ratio.

    Raises:
        Uncompliant: the file is of no listed format, is broken, lacks more than half, has more than `max_pixels`
            pixels, or would take too long; the last two are found out before decoding.
        TakesLonger: the predicted time exceeds `most_seconds`; nothing has been decoded.
    """
    data = _decode(image_data)
    with warnings.catch_warnings(action="ignore"):  # warnings quote the file
        opened = _opened(data, max_size, max_pixels, most_seconds)
        picture = _upright(_in_srgb(opened.picture, opened.profile), opened.orientation)
    picture.info.clear()
    budget = 8192 + max_size * max_size * 3 // 8  # bytes: 3 bits per pixel of the largest picture, 250 kB at 800
    encoded = _encoded(picture, budget, was_jpeg=opened.was_jpeg)
    return base64.b64encode(encoded).decode("ascii")


def _decode(image_data: str) -> bytes:
    """Decode base64 (RFC 4648 §4), with or without the line breaks of MIME."""
    try:
        # Four times as fast as the standard library, which would take a seventh of a photo's total time.
        data = msgspec.convert(image_data.replace("\r", "").replace("\n", ""), bytes)
    except (msgspec.ValidationError, UnicodeError):
        raise Uncompliant(_NOT_BASE64) from None
    if not data:
        raise Uncompliant("The image is empty.")
    return data


def _opened(data: bytes, max_size: int, max_pixels: int, most_seconds: float) -> _Opened:
    with _blaming_the_client(data):
        foretold = estimate(data)
        if foretold.is_broken:
            raise UnidentifiedImageError
        # WebP's and JPEG 2000's libraries allocate the whole picture, up to 2 GB, before Pillow knows its size.
        _check_size(foretold.size, max_pixels)
        if foretold.tiled[0] * foretold.tiled[1] > max_pixels * _TILES_BEYOND:
            raise Uncompliant(_TILES_TOO_LARGE)
        if foretold.seconds > _MAX_SECONDS:
            raise Uncompliant(_TOO_LONG)
        if foretold.seconds > most_seconds:
            raise TakesLonger(foretold.seconds)
        image_formats.check_raw(data)
        if (raster := rasters.read(data, _fitted(foretold.size, max_size))) is not None:
            return _Opened(raster, orientation=rasters.orientation(data))
        if foretold.is_cut:
            return _scaled(data + image_repair.JPEG_END, max_size, foretold)
        if not data.startswith(image_repair.PNG_SIGNATURE):
            return _scaled(data, max_size, foretold)
        slim = image_repair.slim_png(data)
        try:
            return _scaled(slim, max_size, foretold)
        except UnidentifiedImageError:
            raise
        except OSError:
            if (completed := image_repair.completed_png(slim)) is None:
                raise
            return _scaled(completed, max_size, foretold)


def _scaled(data: bytes, max_size: int, foretold: Estimate) -> _Opened:
    source = Image.open(io.BytesIO(data), formats=image_formats.formats_for(data))
    if math.prod(source.size) > math.prod(foretold.size):
        raise ValueError("larger than its headers foretold")
    size = _fitted(source.size, max_size)
    draft = source.draft(None, size)  # only JPEG: libjpeg skips detail that scaling would lose
    if isinstance(source, Jpeg2KImageFile):
        source.reduce = _halvings(data, source.size, size)
    source.load()
    if foretold.is_cut:
        image_repair.check_share(image_repair.share_of_jpeg(source))
    plain = _plain(source)  # may raise: palettes and transparency come from the file, too
    if plain.mode != "F":
        picture = plain.resize(size, Resampling.LANCZOS, draft and draft[1], reducing_gap=2.0)
    elif isinstance(source, PngImageFile):  # brightness, which uses the full range of 16 bits
        picture = stretching.greys(plain.resize(size, Resampling.BOX), 0.0, 65535.0)
    else:
        picture = stretching.stretched(plain, size)
    profile, was_jpeg = source.info.get("icc_profile"), isinstance(source, JpegImageFile)
    return _Opened(picture, profile, _orientation(source), was_jpeg)


def _halvings(data: bytes, full: tuple[int, int], size: tuple[int, int]) -> int:
    """How many of a JPEG 2000's finest resolution levels are skipped; each leaves a third of the work."""
    ratio = min(full[0] // size[0], full[1] // size[1])
    return jpeg2000.halvings(full, ratio, jpeg2000.levels(data))


@contextmanager
def _blaming_the_client(data: bytes) -> Iterator[None]:
    """Turn any exception of a parser into an Uncompliant, except MemoryError, which says nothing about the file."""
    try:
        yield
    except (Uncompliant, TakesLonger, MemoryError):
        raise
    except UnidentifiedImageError:
        raise Uncompliant(image_formats.words_for(data) or image_formats.UNSUPPORTED) from None
    except Exception:
        raise Uncompliant(_DAMAGED) from None


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise Uncompliant(f"The image is too large: {width} × {height} pixels, at most {max_pixels} are allowed.")


def _fitted(size: tuple[int, int], max_size: int) -> tuple[int, int]:
    width, height = size
    scale = min(1, max_size / max(*size, 1))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _plain(source: Image.Image) -> Image.Image:
    """Convert to a mode that can be resampled: L, RGB, RGBA if partly transparent, or CMYK.

    Samples of more than 8 bits become mode F.
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


def _in_srgb(picture: Image.Image, profile: Any) -> Image.Image:
    """Convert to sRGB: without its profile a phone's Display P3 would look pale. A broken profile is ignored."""
    if picture.mode == "LA":
        return picture
    target = "RGBA" if picture.mode == "RGBA" else "RGB"
    converted = picture
    if profile:
        with suppress(ImageCms.PyCMSError, TypeError, ValueError):
            transform = ImageCms.buildTransform(io.BytesIO(profile), _SRGB, picture.mode, target)
            converted = transform.apply(picture)
    return converted.convert("L" if picture.mode == "L" else target)


def _orientation(source: Image.Image) -> Any:
    """The EXIF orientation; None if the EXIF data is broken or too large."""
    if len(source.info.get("exif", b"")) > _MAX_EXIF:
        return None
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
    """Encode as PNG if transparent, or if a PNG, which keeps letters and lines sharp, is small; else as JPEG."""
    if picture.mode in ("LA", "RGBA"):
        return _png(picture)
    jpeg = _jpeg(picture, budget)
    if was_jpeg:
        return jpeg
    png = _png(picture)
    return png if len(png) <= min(budget, 3 * len(jpeg)) else jpeg


def _jpeg(picture: Image.Image, budget: int) -> bytes:
    """Encode as JPEG at the highest quality within the budget, which only grass and gravel exceed.

    Progressive takes longer but saves a tenth of the bytes, which are sent to everyone in the channel.
    """
    for quality in _JPEG_QUALITIES:
        encoded = _saved(picture, "JPEG", quality=quality, progressive=True)
        if len(encoded) <= budget:
            break
    return encoded


def _png(picture: Image.Image) -> bytes:
    """Encode as PNG, with a palette if all colours fit: then Pillow's median cut gives each an entry of its own."""
    most = {"L": 16, "RGB": 256}.get(picture.mode, 0)
    if most and picture.getcolors(most):
        picture = picture.quantize(most, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return _saved(picture, "PNG")


def _saved(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()
