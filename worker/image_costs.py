"""Cost prediction: the CPU time that a picture will take, from its headers, before anything is decoded.

A file of some kilobytes can cost more than a photo of 60 megapixels: a progressive JPEG may have any number of scans,
each of which passes over the whole picture, and a few bytes may cause an iteration of a loop in Python.

The figures are CPU time on one core of an ordinary server of 2024 (a photo of 12 megapixels and 4 MB: 0.15 s). For real
photos the prediction is right within a factor of two, for hostile files rather too high. Costs may change with the
libraries, so use it to compare pictures and to limit them, not as a clock.
"""

import math
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from worker import jpeg2000, tiff

_NANO = 1e-9
_ALWAYS = 0.06  # base64, colour profile, and encoding
_PER_ROW = 45 * _NANO  # however short
_PER_TIFF_BLOCK = 15e-6
_PER_TIFF_BYTE = 8
_PER_FRACTION = 3.5e-6  # of TIFF and EXIF: each is a Python object
_PER_JPEG2000_TILE = 20e-6
_USUAL_SIZE = 800  # pictures are scaled to it; of a JPEG 2000, finer levels are skipped
_PER_BYTE_OF_BOXES = 500 * _NANO  # of JPEG 2000: a box may have only 8 bytes
_PER_BYTE_SKIPPED = 200 * _NANO  # examined by Pillow in Python
_PER_BYTE_OF_TABLES = 100 * _NANO  # of JPEG: quantization tables and Photoshop's notes, read by Pillow in Python
_PER_DIFFERENCE = 60 * _NANO  # summed up in Python
_PER_TAKEN = 120 * _NANO  # per sum that is kept
_MAX_STEPS = 5000  # segments or blocks before the pixels, which Pillow reads in Python: a photo has a hundred

# Nanoseconds per sample of an empty JPEG scan's components (libjpeg-turbo 3.2; measured on a picture of one colour,
# with each scan of Pillow's progressive files repeated: DC 0.6 to 0.8, AC 0.25 to 0.35, refinement 0.8 to 1.3).
_DC_SCAN, _AC_SCAN, _REFINEMENT = 0.9, 0.35, 1.5
_SEQUENTIAL_SCAN = 2.0
_ARITHMETIC_SCAN = 30.0  # never empty: without data it decodes zeros

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # matches no entropy-coded data (ITU-T T.81 §B.1.1.5)
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_TABLES = frozenset({0xDB, 0xED})
_BARE = frozenset({0x01, 0xD8})  # markers without a length
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_MAX_TIFF_JPEG_SCANS = 100  # libtiff's own limit for each strip or tile


@dataclass(frozen=True)
class Estimate:
    """A prediction from a file's headers. The size is (0, 0) if it is not known before the file is opened."""

    size: tuple[int, int] = (0, 0)
    seconds: float = _ALWAYS
    is_cut: bool = False  # a JPEG without its end marker
    is_broken: bool = False  # must not be decoded: its cost is unknown
    tiled: tuple[int, int] = (0, 0)  # a TIFF's size, rounded up to whole tiles, which are decoded whole


class _Endless(Exception):
    """The file has more segments or blocks before its pixels than any real picture."""


class TakesLonger(Exception):
    """A job was not started, since its predicted `seconds` exceed what it may take now."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def estimate(data: bytes) -> Estimate:
    """Predict a picture's size and the cost of `worker.images.fit`; other files cost next to nothing.

    It reads headers, and all markers of a JPEG: 1 ms per megabyte of JPEG, next to nothing for others.
    """
    for is_one, look in _LOOKS:
        if is_one(data):
            try:
                return look(data)
            except (ValueError, struct.error, IndexError, ZeroDivisionError):
                return Estimate(is_broken=True)
            except (_Endless, jpeg2000.TooManyBoxes):
                return Estimate(seconds=math.inf)
    return Estimate()


def _estimate(size: tuple[int, int], *, per_pixel: float, per_byte: float, data: bytes, more: float = 0.0) -> Estimate:
    """Sum up a prediction; `per_pixel` and `per_byte` are in nanoseconds, `more` in seconds."""
    pixels = _NANO * size[0] * size[1] * per_pixel
    return Estimate(size, _ALWAYS + pixels + size[1] * _PER_ROW + _NANO * len(data) * per_byte + more)


# JPEG


@dataclass
class _Jpeg:
    frame: int = 0
    size: tuple[int, int] = (0, 0)
    samples: dict[int, int] = field(default_factory=dict)  # by component, rounded up to whole MCUs
    has_scan: bool = False
    seconds: float = 0.0

    def begin(self, marker: int, data: bytes, at: int) -> None:
        """Read a frame header (T.81 §B.2.2)."""
        height, width, number = struct.unpack_from(">HHB", data, at + 5)
        self.frame, self.size = marker, (width, height)
        components = [struct.unpack_from(">BB", data, at + 10 + 3 * place) for place in range(number)]
        across, down = max(f >> 4 for _, f in components), max(f & 15 for _, f in components)
        mcus = -(-width // (8 * across)) * -(-height // (8 * down))
        for name, f in components:  # a name may come twice
            self.samples[name] = max(64 * mcus * (f >> 4) * (f & 15), self.samples.get(name, 0))

    def add_scan(self, data: bytes, at: int) -> None:
        """Read a scan header (T.81 §B.2.3)."""
        self.has_scan = True
        number = data[at + 4]
        samples = sum(self.samples.get(data[at + 5 + 2 * place], 0) for place in range(number))
        first, _, approximation = data[at + 5 + 2 * number : at + 8 + 2 * number]
        if self.frame >= 0xC9:
            cost = _ARITHMETIC_SCAN
        elif self.frame not in _PROGRESSIVE:
            cost = _SEQUENTIAL_SCAN
        elif first == 0:
            cost = _DC_SCAN
        else:
            cost = _REFINEMENT if approximation >> 4 else _AC_SCAN
        self.seconds += _NANO * cost * samples


def _look_at_jpeg(data: bytes) -> Estimate:
    jpeg, marker = _Jpeg(), 0
    for step, (marker, at, skipped) in enumerate(_segments(data)):
        if step == _MAX_STEPS:
            raise _Endless
        if not jpeg.has_scan:
            jpeg.seconds += _PER_BYTE_SKIPPED * skipped
            if data.startswith(b"Exif\0\0", at + 4):  # eight bytes a fraction
                jpeg.seconds += _PER_FRACTION * int.from_bytes(data[at + 2 : at + 4]) / 8
            elif marker in _TABLES:
                jpeg.seconds += _PER_BYTE_OF_TABLES * int.from_bytes(data[at + 2 : at + 4])
        try:
            if marker in _FRAMES and not jpeg.frame:
                jpeg.begin(marker, data, at)
            elif marker == _START_OF_SCAN:
                jpeg.add_scan(data, at)
        except (ValueError, struct.error, IndexError):
            break  # truncated within this header; the scans before it are decoded all the same
    per_byte = 40 if jpeg.frame in _PROGRESSIVE else 15
    found = _estimate(jpeg.size, per_pixel=4, per_byte=per_byte, data=data, more=jpeg.seconds)
    return replace(found, is_cut=jpeg.has_scan and marker != _END_OF_IMAGE)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each marker of the first picture, its offset, and how many bytes before it belong to no segment."""
    at = 2
    while found := _MARKER.search(data, at):
        skipped, at = found.start() - at, found.start()
        marker = data[at + 1]
        yield marker, at, skipped
        if marker == _END_OF_IMAGE:
            return
        at += 2 if marker in _BARE else 2 + int.from_bytes(data[at + 2 : at + 4])


# PNG, GIF, BMP, WebP


def _look_at_png(data: bytes) -> Estimate:
    if data[12:16] != b"IHDR":
        raise ValueError("another chunk comes first")
    width, height, depth, colour, interlaced = struct.unpack_from(">IIBBxxB", data, 16)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 4)
    is_clear = b"tRNS" in data  # then the whole picture becomes RGBA
    per_pixel = 5 + 0.6 * bits + (3 if interlaced else 0) + (10 if is_clear else 0)
    return _estimate((width, height), per_pixel=per_pixel, per_byte=10, data=data)


def _look_at_gif(data: bytes) -> Estimate:
    """Estimate by the screen, or the first picture if larger: Pillow enlarges the screen to it (GIF89a §18, §20)."""
    at = 13 + (6 << (data[10] & 7) if data[10] & 0x80 else 0)
    is_within = False  # within an extension: its label, then blocks up to an empty one (§24)
    for _ in range(_MAX_STEPS):
        if is_within:
            is_within = data[at] != 0
            at += 1 + data[at]
        elif data[at] == 0x21:
            is_within = True
            at += 2
        elif data[at] == 0x2C:
            break
        else:
            at += 1
    else:
        raise _Endless
    width, height = struct.unpack_from("<HH", data, 6)
    left, top, across, down = struct.unpack_from("<4H", data, at + 1)
    return _estimate((max(width, left + across), max(height, top + down)), per_pixel=18, per_byte=10, data=data)


def _look_at_bmp(data: bytes) -> Estimate:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        return _estimate(struct.unpack_from("<HH", data, 18), per_pixel=8, per_byte=2, data=data)
    width, height, compression = struct.unpack_from("<ii4xI", data, 18)
    is_packed = compression in (1, 2)  # unpacked in Python, whatever the depth
    return _estimate((abs(width), abs(height)), per_pixel=8, per_byte=400 if is_packed else 2, data=data)


def _look_at_webp(data: bytes) -> Estimate:
    """Estimate by the image header (RFC 9649 §2.5 to §2.7)."""
    match data[12:16]:
        case b"VP8X":
            size = 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case _:
            bits = int.from_bytes(data[26:30], "little")
            size = bits & 0x3FFF, bits >> 16 & 0x3FFF
    return _estimate(size, per_pixel=24, per_byte=20 if data[12:16] == b"VP8L" else 80, data=data)


# TIFF


def _look_at_tiff(data: bytes) -> Estimate:
    tags = tiff.Directory(data)
    size = width, length = tags.number(tiff.WIDTH, 0), tags.number(tiff.LENGTH, 0)
    bits, samples = tags.number(tiff.BITS, 1), tags.number(tiff.SAMPLES, 1)
    if min(width, length, bits, samples) < 1:
        raise ValueError("no pixels")
    strip = tags.number(tiff.ROWS_PER_STRIP, length)
    if strip < 1:
        raise ValueError("strips of no rows")
    tile = tags.number(tiff.TILE_WIDTH, width), tags.number(tiff.TILE_LENGTH, length)
    if min(tile) < 1:
        raise ValueError("tiles of no pixels")
    tiled = -(-width // tile[0]) * tile[0], -(-length // tile[1]) * tile[1]
    planes = samples if tags.number(tiff.PLANAR, 1) == 2 else 1
    strips, tiles = len(tags.numbers(tiff.STRIP_OFFSETS)), len(tags.numbers(tiff.TILE_OFFSETS))
    # Pillow decodes each strip or tile in the directory, even if they overlap.
    listed = strips * width * min(strip, length) + tiles * min(tile[0], width) * min(tile[1], length)
    pixels = max(tiled[0] * tiled[1], listed // planes)
    more = (strips + tiles) * _PER_TIFF_BLOCK + tags.fractions * _PER_FRACTION
    # Any number of strips may share the same bytes, which are decoded for each.
    named = sum(tags.numbers(tiff.STRIP_SIZES)) + sum(tags.numbers(tiff.TILE_SIZES))
    more += _NANO * _PER_TIFF_BYTE * max(0, named - len(data))
    # Differences are summed up in Python by `worker.rasters`, but in C for what is certainly a photo.
    is_photo = bits <= 8 and tags.number(tiff.PHOTOMETRIC, 1) == 2 and tiff.GDAL_NODATA not in tags
    if tags.number(tiff.PREDICTOR, 1) == 2 and samples > 1 and not (is_photo and tiff.SAMPLE_FORMAT not in tags):
        taken = min(width, 2 * _USUAL_SIZE)
        rows = min(length, _USUAL_SIZE)
        more += min(samples, 4) * rows * (tiled[0] * _PER_DIFFERENCE + taken * _PER_TAKEN)
    if tags.number(tiff.COMPRESSION, 1) in (6, 7) and b"\xff\xc2" in data:  # JPEG, progressive
        scans = min(data.count(b"\xff\xda"), _MAX_TIFF_JPEG_SCANS)
        more += _NANO * _REFINEMENT * scans * pixels * min(samples, 4)
    more += _NANO * (pixels - width * length) * (8 + min(bits * samples, 1024) / 6)
    found = _estimate(size, per_pixel=8 + min(bits * samples, 1024) / 6, per_byte=_PER_TIFF_BYTE, data=data, more=more)
    return replace(found, tiled=tiled)


# JPEG 2000, AVIF, HEIF


def _look_at_jpeg2000(data: bytes) -> Estimate:
    """Estimate by the SIZ segment of the codestream (ITU-T T.800 §A.5.1)."""
    at = jpeg2000.codestream(data)
    right, bottom, left, top, tile_width, tile_height = struct.unpack_from(">6I", data, at + 8)
    size = right - left, bottom - top
    if min(size) < 1:
        raise ValueError("no pixels")
    tiles = -(-size[0] // tile_width) * -(-size[1] // tile_height)
    levels = jpeg2000.levels(data)
    halves = 1 << jpeg2000.halvings(size, max(size) // _USUAL_SIZE, levels)
    more = tiles * _PER_JPEG2000_TILE + at * _PER_BYTE_OF_BOXES
    per_pixel = (40 if levels else 160) / halves
    return _estimate(size, per_pixel=per_pixel, per_byte=250 / halves, data=data, more=more)


def _look_at_heif(data: bytes) -> Estimate:
    """Estimate by the largest `ispe` box (ISO/IEC 23008-12 §6.5.3), since no tile is larger than the whole picture.

    The boxes come before the pixels, or else after them; within the pixels the four letters may occur by chance.
    """
    width = height = 0
    end = 1 << 20 if data.find(b"ispe", 0, 1 << 20) >= 0 else len(data)
    at = data.find(b"ispe", 0, end)
    while 0 <= at <= len(data) - 16:
        one = struct.unpack_from(">II", data, at + 8)
        if one[0] * one[1] > width * height:
            width, height = one
        at = data.find(b"ispe", at + 4, end)
    is_avif = b"avif" in data[8:64] or b"avis" in data[8:64]
    return _estimate((width, height), per_pixel=20 if is_avif else 18, per_byte=140 if is_avif else 260, data=data)


_LOOKS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Estimate]], ...] = (
    (lambda data: data.startswith(b"\xff\xd8\xff"), _look_at_jpeg),
    (lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), _look_at_png),
    (lambda data: data.startswith(b"GIF8"), _look_at_gif),
    (lambda data: data.startswith(b"BM"), _look_at_bmp),
    (lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP", _look_at_webp),
    (tiff.is_tiff, _look_at_tiff),
    (lambda data: data.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")), _look_at_jpeg2000),
    (lambda data: data[4:8] == b"ftyp", _look_at_heif),
)
