"""Supported image formats, and the reasons for refusing others.

HEIC, which iPhones write, needs pillow-heif (`pip install "gischat[heic]"`). It is optional because its wheel has
26 MB, of which 23 are x265, an encoder that is not used here and makes the wheel GPL v2 (libheif and libde265 are LGPL
v3).
"""

import functools
import importlib
import logging
from collections.abc import Callable
from contextlib import suppress

from PIL import AvifImagePlugin, Image, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from gischat.errors import Uncompliant
from worker import tiff
from worker.rasters import HOW_TO_EXPORT

# Ours is `max_pixels`. Pillow's limit is global, warns at its value and raises only at twice the value.
Image.MAX_IMAGE_PIXELS = None
# Pillow logs details of users' files, which do not belong in our logs.
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
# A second thread is no faster when all cores are busy, and takes memory of its own.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# Imported explicitly: otherwise Pillow imports all of its plugins for the first TIFF or WebP.
_READERS = (PngImageFile, JpegImageFile, WebPImageFile, GifImageFile, BmpImageFile, TiffImageFile)
_OPTIONAL_READERS = (("avif", AvifImageFile), ("jpg_2000", Jpeg2KImageFile))


@functools.cache
def has_heif() -> bool:
    """Whether pillow-heif is installed, by which Pillow reads HEIC. It takes 4 MB, loaded for the first such file."""
    with suppress(ImportError):
        plugin = importlib.import_module("pillow_heif")
        plugin.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
        return True
    return False


_FORMATS = (
    *(str(reader.format) for reader in _READERS),
    *(str(reader.format) for feature, reader in _OPTIONAL_READERS if features.check(feature)),
)

UNSUPPORTED = "This image format is not supported: send PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000."
UNREADABLE = "The image file is damaged, incomplete or of a kind that cannot be read here."
_SAVE_IT = "Save it as PNG or JPEG, and send that."
_HEIC = (
    "HEIC photos cannot be shown here. Send it as JPEG; an iPhone takes photos as JPEG with "
    "Settings > Camera > Formats > Most Compatible."
)
_RAW = f"This is a camera's raw file, which cannot be shown here. {_SAVE_IT}"
_VIDEO = "This is a video, and only pictures can be shown here. Send a picture of it."

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_DNG_VERSION = 50706

_KNOWN: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (lambda it: it[4:12] == b"ftypcrx ", _RAW),
    (lambda it: it[4:8] == b"ftyp" or it.startswith(b"\x1aE\xdf\xa3") or it[8:12] == b"AVI ", _VIDEO),
    (
        lambda it: it.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")),
        f"JPEG XL pictures cannot be shown here. {_SAVE_IT}",
    ),
    (lambda it: it.startswith(b"8BPS"), f"Photoshop files cannot be shown here. {_SAVE_IT}"),
    (lambda it: it.startswith((b"IIRO", b"IIU\0", b"FUJIFILMCCD-RAW")), _RAW),
    (lambda it: it.startswith(b"%PDF"), "PDF files cannot be shown here. Save the page as PNG or JPEG, and send that."),
    (lambda it: it.startswith(b"%!PS"), f"PostScript files cannot be shown here. {_SAVE_IT}"),
    (lambda it: b"<svg" in it[:1024], "SVG drawings cannot be shown here. Export it as PNG, and send that."),
)


def formats_for(data: bytes) -> tuple[str, ...]:
    """Pillow's names of the formats to try for a file."""
    return (*_FORMATS, "HEIF") if _is_container(data) and has_heif() else _FORMATS


def words_for(data: bytes) -> str | None:
    """The reason why a file cannot be opened; None if its format is unknown."""
    if _is_container(data) and not has_heif() and (data[8:12] in _HEIC_BRANDS or b"heic" in data[8:64]):
        return _HEIC
    if tiff.is_tiff(data):
        return f"This TIFF is damaged, or of a kind that cannot be shown here. {HOW_TO_EXPORT}"
    if any(_accepts(name, data) for name in formats_for(data)):
        return UNREADABLE
    return next((words for is_one, words in _KNOWN if is_one(data)), None)


def check_raw(data: bytes) -> None:
    """Refuse a camera's raw file that is also a TIFF, whose first picture may be a thumbnail of 160 pixels.

    Raises:
        Uncompliant: it is a raw file.
    """
    if tiff.is_tiff(data) and (data[8:10] == b"CR" or _DNG_VERSION in tiff.Directory(data)):
        raise Uncompliant(_RAW)


def _is_container(data: bytes) -> bool:
    """Whether a file is an ISO base media container, like HEIC, AVIF and videos (ISO/IEC 14496-12)."""
    return data[4:8] == b"ftyp"


def _accepts(name: str, data: bytes) -> bool:
    accept = Image.OPEN[name][1]
    return accept is not None and accept(data[:16]) is True
