"""Rendering of TIFFs of elevations, measurements or satellite bands, like a new raster layer in QGIS.

QGIS shows one band in greys, and of several bands the first three as red, green and blue. It stretches bands of more
than 8 bits between their 2nd and 98th percentiles, and leaves missing data transparent.

Missing data (nodata) is: the value in GDAL's tag 42113; for signed numbers the usual values (_USUAL_NODATA), since many
files lack the tag; and what is not finite or beyond any measurement on Earth (a float's lowest, -3.4e38).

Pillow can read one band of up to 32 bits, or several bands of 8 bits. So we rewrite the directory until the file is one
of these: a single plane, or all bytes of a row as grey pixels, which are split into samples here. libtiff decompresses
both.

    no predictor, or no compression             the bytes of all rows
    predictor, one sample per pixel             one band, as Pillow reads it
    predictor 2, several samples per pixel      the bytes of some rows, whose differences are summed up here
"""

import io
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from PIL import Image
from PIL.Image import Resampling, Transform

from gischat.errors import Uncompliant
from worker import tiff
from worker.stretching import computed, shown

HOW_TO_EXPORT = (
    "In QGIS, export the layer as a rendered image (Export > Save As… > Rendered image), "
    "or the map as a picture (Project > Import/Export > Export Map to Image…)."
)
_EXPORT_IT = f"This TIFF is of a kind that cannot be shown here. {HOW_TO_EXPORT}"

_PACKED_LOSSLESSLY = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})  # none, LZW, deflate, PackBits, old deflate, …
_READABLE = frozenset({(8, 1), (8, 2), (16, 1), (16, 2), (32, 1), (32, 2), (32, 3), (64, 3)})  # bits, sample format
_BITS = frozenset({8, 16, 32, 64})  # others come from scanners; Pillow can read them
_ARRAYS = {8: "B", 16: "H", 32: "I"}
_PHOTOMETRICS = frozenset({0, 1, 2})  # white is zero, black is zero, RGB
_ALPHA = frozenset({1, 2})  # of ExtraSamples

# -9999 and similar ones (Esri, ASCII grids), and the lowest 16-bit numbers (SRTM).
_USUAL_NODATA = (-9999.0, -99999.0, -999999.0, -32767.0, -32768.0)
_BEYOND_EARTH = 1e30
_MAX_BYTES_PER_PIXEL = 16  # uncompressed: eight bands of 16 bits


@dataclass(frozen=True)
class _Layout:
    """The layout of a TIFF's samples, from its directory."""

    order: str
    size: tuple[int, int]
    bits: int
    format: int  # 1 unsigned, 2 signed, 3 floating point
    samples: int
    compression: int
    predictor: int
    is_planar: bool
    block: tuple[int, int]  # pixels of a tile, or of a strip
    is_tiled: bool
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    alpha: int | None  # index of the alpha sample
    nodata: float | None

    @property
    def bands(self) -> tuple[int, ...]:
        """The indices of the bands that are shown."""
        colours = self.samples - (self.alpha is not None)
        return (0, 1, 2) if colours >= 3 else (0,)

    @property
    def raw_mode(self) -> str:
        return f"F;{self.bits}{'B' if self.order == '>' and self.bits > 8 else ''}{('', 'S', 'F')[self.format - 1]}"


def read(data: bytes, size: tuple[int, int]) -> Image.Image | None:
    """Render a raster at that size, in mode L or RGB, or with missing data in LA or RGBA.

    None if the file is no such raster, which is left to Pillow. Raises Uncompliant if neither can read it.
    """
    if not tiff.is_tiff(data):
        return None
    try:
        layout = _layout(data)
    except (ValueError, struct.error, ZeroDivisionError):
        return None  # broken: Pillow reports it
    if layout is None:
        return None
    if (layout.bits, layout.format) not in _READABLE or layout.compression not in _PACKED_LOSSLESSLY:
        raise Uncompliant(_EXPORT_IT)
    if layout.bits // 8 * layout.samples > _MAX_BYTES_PER_PIXEL and not layout.is_planar:
        raise Uncompliant(_EXPORT_IT)
    bands, valid = _bands(data, layout, size)
    return shown(bands, valid, size, is_stretched=layout.bits > 8)


def orientation(data: bytes) -> int:
    """The orientation of a colour raster, a photo; 1 for measurements, whose orientation GDAL and so QGIS ignore."""
    tags = tiff.Directory(data)
    return tags.number(tiff.ORIENTATION, 1) if tags.number(tiff.PHOTOMETRIC, 1) == 2 else 1


def _layout(data: bytes) -> _Layout | None:
    """Read the layout of a raster of measurements; None if the tags say that the TIFF is an ordinary picture."""
    tags = tiff.Directory(data)
    bits, formats = tags.numbers(tiff.BITS) or (1,), tags.numbers(tiff.SAMPLE_FORMAT) or (1,)
    samples, photometric = tags.number(tiff.SAMPLES, 1), tags.number(tiff.PHOTOMETRIC, 1)
    nodata = _number(tags.text(tiff.GDAL_NODATA))
    is_picture = bits[0] <= 8 and formats[0] == 1 and nodata is None and (photometric == 2 or samples < 3)
    if photometric not in _PHOTOMETRICS or is_picture or bits[0] not in _BITS or samples < 1:
        return None
    if photometric == 2 and tiff.ICC_PROFILE in tags:  # a photo with 16 bits per colour
        return None
    if bits[0] == 8 and tags.number(tiff.COMPRESSION, 1) not in _PACKED_LOSSLESSLY:
        return None
    if len(set(bits)) > 1 or len(set(formats)) > 1:
        raise Uncompliant(_EXPORT_IT)
    width, length = tags.number(tiff.WIDTH, 0), tags.number(tiff.LENGTH, 0)
    is_tiled = tiff.TILE_OFFSETS in tags
    rows = min(tags.number(tiff.ROWS_PER_STRIP, length), length)
    block = (tags.number(tiff.TILE_WIDTH, 0), tags.number(tiff.TILE_LENGTH, 0)) if is_tiled else (width, rows)
    extra = tags.numbers(tiff.EXTRA_SAMPLES)
    colours = samples - len(extra)
    if min(width, length, *block) < 1:
        raise ValueError("no pixels")
    return _Layout(
        order=tags.order,
        size=(width, length),
        bits=bits[0],
        format=formats[0],
        samples=samples,
        compression=tags.number(tiff.COMPRESSION, 1),
        predictor=tags.number(tiff.PREDICTOR, 1) if tags.number(tiff.COMPRESSION, 1) != 1 else 1,
        is_planar=tags.number(tiff.PLANAR, 1) == 2 and samples > 1,
        block=block,
        is_tiled=is_tiled,
        offsets=tags.numbers(tiff.TILE_OFFSETS if is_tiled else tiff.STRIP_OFFSETS),
        sizes=tags.numbers(tiff.TILE_SIZES if is_tiled else tiff.STRIP_SIZES),
        alpha=next((colours + place for place, kind in enumerate(extra) if kind in _ALPHA), None),
        nodata=nodata,
    )


def _number(text: str) -> float | None:
    try:
        (rounded,) = struct.unpack("f", struct.pack("f", float(text)))
    except (ValueError, OverflowError):  # such a double is beyond _BEYOND_EARTH in any case
        return None
    return float(rounded)


def _bands(data: bytes, layout: _Layout, size: tuple[int, int]) -> tuple[list[Image.Image], Image.Image]:
    """The shown bands in mode F, and a mask in mode F: 1 where they are valid, else 0.

    At twice the wanted size, or the full one if smaller. Pixels are picked, not averaged, as in QGIS: a mean of
    elevations and a nodata value would be neither.
    """
    sampled = min(layout.size[0], 2 * size[0]), min(layout.size[1], 2 * size[1])
    wanted = layout.bands if layout.alpha is None else (*layout.bands, layout.alpha)
    *bands, last = _samples(data, layout, wanted, sampled)
    valid = Image.new("F", sampled, 1.0)
    if layout.alpha is None:
        bands.append(last)
    else:
        valid = computed(lambda it: it["a"] > 0, a=last)
    left_out = {*(() if layout.format == 1 else _USUAL_NODATA), *(() if layout.nodata is None else (layout.nodata,))}
    for band in bands:
        valid = computed(lambda it: it["v"] * (abs(it["b"]) < _BEYOND_EARTH), v=valid, b=band)
        for number in left_out:
            valid = computed(_differing_from(number), v=valid, b=band)
    return bands, valid


def _differing_from(number: float) -> Callable[[dict[str, Any]], Any]:
    return lambda it: it["v"] * (it["b"] != number)


def _samples(data: bytes, layout: _Layout, wanted: tuple[int, ...], sampled: tuple[int, int]) -> Iterable[Image.Image]:
    """The wanted samples of the picked pixels, one picture in mode F per sample."""
    is_single = layout.is_planar or layout.samples == 1
    if layout.predictor == 1:
        planes = wanted if layout.is_planar else (0,)
        return _from_bytes(data, layout, wanted, planes, sampled)
    if is_single and layout.bits <= 32:
        return (
            _opened(_one_band(data, layout, band)).convert("F").resize(sampled, Resampling.NEAREST) for band in wanted
        )
    if layout.predictor == 2 and layout.bits in _ARRAYS:
        return _from_differences(data, layout, wanted, sampled)
    raise Uncompliant(_EXPORT_IT)


def _from_bytes(
    data: bytes, layout: _Layout, wanted: tuple[int, ...], planes: tuple[int, ...], sampled: tuple[int, int]
) -> Iterator[Image.Image]:
    for plane in planes:
        rows = _opened(_as_bytes(data, layout, plane))
        rows = rows.resize((rows.width, sampled[1]), Resampling.NEAREST)
        values = Image.frombytes(
            "F", (rows.width * 8 // layout.bits, sampled[1]), rows.tobytes(), "raw", layout.raw_mode
        )
        if layout.is_planar:
            yield _thinned(values, layout, 1, 0, sampled)
        else:
            yield from (_thinned(values, layout, layout.samples, band, sampled) for band in wanted)


def _thinned(values: Image.Image, layout: _Layout, samples: int, band: int, sampled: tuple[int, int]) -> Image.Image:
    """Pick one band from rows of interleaved samples, which may end with the unused part of a tile."""
    picked = (samples, 0, band + 0.5 - samples / 2, 0, 1, 0)  # Pillow's coordinates refer to the centres of pixels
    one = values.transform((layout.size[0], sampled[1]), Transform.AFFINE, picked, Resampling.NEAREST)
    return one.resize(sampled, Resampling.NEAREST)


def _from_differences(
    data: bytes, layout: _Layout, wanted: tuple[int, ...], sampled: tuple[int, int]
) -> Iterable[Image.Image]:
    """Decode predictor 2: each sample is the difference to its left neighbour in its tile or strip (TIFF 6.0 §14).

    Only half as many rows are decoded, since this is slow.
    """
    packed = _opened(_as_bytes(data, layout, 0))
    width, length = layout.size
    rows = min(length, (sampled[1] + 1) // 2)
    columns = [(2 * x + 1) * width // (2 * sampled[0]) for x in range(sampled[0])]
    across = layout.block[0] * layout.samples
    mask = (1 << layout.bits) - 1
    planes = [bytearray() for _ in wanted]
    code = _ARRAYS[layout.bits]
    for row in range(rows):
        y = (2 * row + 1) * length // (2 * rows)
        numbers = array(code, packed.crop((0, y, packed.width, y + 1)).tobytes())
        if (layout.order == ">") != (sys.byteorder == "big"):
            numbers.byteswap()
        blocks = [numbers[start : start + across] for start in range(0, len(numbers), across)]
        for plane, band in zip(planes, wanted, strict=True):
            sums = [total for block in blocks for total in accumulate(block[band :: layout.samples])]
            plane += array(code, [sums[x] & mask for x in columns]).tobytes()
    raw_mode = f"F;{layout.bits}{'N' if layout.bits > 8 else ''}{'S' if layout.format == 2 else ''}"
    return [
        Image.frombytes("F", (sampled[0], rows), plane, "raw", raw_mode).resize(sampled, Resampling.NEAREST)
        for plane in planes
    ]


def _one_band(data: bytes, layout: _Layout, plane: int) -> bytes:
    """Rewrite the file so that it contains one plane, with unchanged samples."""
    tags: dict[int, Sequence[int]] = {
        tiff.WIDTH: [layout.size[0]],
        tiff.BITS: [layout.bits],
        tiff.SAMPLE_FORMAT: [layout.format],
        tiff.PREDICTOR: [layout.predictor],
    }
    return _rewritten(data, layout, plane, tags, layout.block[0])


def _as_bytes(data: bytes, layout: _Layout, plane: int) -> bytes:
    """Rewrite the file so that each byte of a row is a grey pixel; a row of tiles is as wide as its tiles."""
    bytes_per_pixel = layout.bits // 8 * (1 if layout.is_planar else layout.samples)
    width = -(-layout.size[0] // layout.block[0]) * layout.block[0]
    return _rewritten(data, layout, plane, {tiff.WIDTH: [width * bytes_per_pixel]}, layout.block[0] * bytes_per_pixel)


def _rewritten(data: bytes, layout: _Layout, plane: int, tags: dict[int, Sequence[int]], block_width: int) -> bytes:
    number = len(layout.offsets) // layout.samples if layout.is_planar else len(layout.offsets)
    mine = slice(plane * number, (plane + 1) * number)
    tags = {
        tiff.LENGTH: [layout.size[1]],
        tiff.BITS: [8],
        tiff.COMPRESSION: [layout.compression],
        tiff.PHOTOMETRIC: [1],
        tiff.SAMPLES: [1],
        **tags,
    }
    if layout.is_tiled:
        tags |= {tiff.TILE_WIDTH: [block_width], tiff.TILE_LENGTH: [layout.block[1]]}
        tags |= {tiff.TILE_OFFSETS: layout.offsets[mine], tiff.TILE_SIZES: layout.sizes[mine]}
    else:
        tags |= {tiff.ROWS_PER_STRIP: [layout.block[1]]}
        tags |= {tiff.STRIP_OFFSETS: layout.offsets[mine], tiff.STRIP_SIZES: layout.sizes[mine]}
    return tiff.with_directory(data, layout.order, {tag: numbers for tag, numbers in tags.items() if numbers})


def _opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file), formats=("TIFF",))
