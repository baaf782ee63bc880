"""Rasters of elevations and satellite bands: stretched as in QGIS, and transparent where they have no data."""

import io
import itertools
import math
import struct
from collections.abc import Callable

import pytest
from PIL import Image

from tests.support.pictures import encoded
from tests.worker.pictures import Raster, display_p3, fitted, reason

WIDTH, HEIGHT = 70, 20
SIZES = [(WIDTH, HEIGHT), (180, HEIGHT)]  # unscaled, and scaled down
MAX_SIZE = 80


def slope(gap: float | None, width: int = WIDTH) -> Callable[[int, int, int], float]:
    """Values from 100 in the west, each band half as steep as the one before it; a gap in the last fifth, or none."""
    return lambda band, x, y: gap if gap is not None and x >= width * 4 // 5 else 100 + x * 700 // (width * 2**band)


def check_slope(file: bytes, *, bands: int = 1, has_gap: bool = False) -> None:
    """Check that each band of the picture has all greys, evenly, from the west to the gap."""
    picture = fitted(file, MAX_SIZE)
    width, height = picture.size
    end = width * 4 // 5 if has_gap else width
    for band in range(bands):
        row = picture.convert("RGB").getchannel(band).crop((0, height // 2, end, height // 2 + 1))
        greys = list(row.tobytes())
        assert greys == sorted(greys)
        assert (greys[0], greys[-1]) == (0, 255)
        assert abs(greys[end // 2] - 128) < 12
    assert picture.mode in ({"LA", "RGBA"} if has_gap else {"L", "RGB", "P"})
    if has_gap:
        assert set(picture.getchannel("A").crop((end + 1, 0, width, height)).tobytes()) == {0}
        assert set(picture.getchannel("A").crop((0, 0, end - 1, height)).tobytes()) == {255}


# File types


@pytest.mark.parametrize("code", "hHiIfd")
def test_elevations_of_each_type_are_stretched_without_their_gaps(code: str) -> None:
    gap = 65535 if code.isupper() else -9999
    for order, size in zip("<>", SIZES, strict=True):
        file = Raster(code, order=order, nodata=str(gap)).file(*size, slope(gap, size[0]))
        check_slope(file, has_gap=True)


LAYOUTS = [
    Raster("H"),
    Raster("H", photometric=2),
    Raster("H", is_packed=True),
    Raster("H", is_packed=True, predictor=2),
    Raster("H", is_planar=True),
    Raster("H", is_planar=True, is_packed=True, predictor=2),
    Raster("H", tile=16),
    Raster("H", tile=32, is_packed=True),
    Raster("H", tile=32, is_packed=True, predictor=2),
    Raster("H", tile=16, is_planar=True, is_packed=True, predictor=2),
]


@pytest.mark.parametrize(("bands", "order", "size"), [(1, "<", SIZES[0]), (3, ">", SIZES[1]), (7, "<", SIZES[1])])
def test_each_satellite_band_is_stretched(bands: int, order: str, size: tuple[int, int]) -> None:
    for layout in LAYOUTS:
        fields = vars(layout) | {"bands": bands, "order": order, "photometric": layout.photometric if bands >= 3 else 1}
        check_slope(Raster(**fields).file(*size, slope(None, size[0])), bands=min(bands, 3))


def test_signed_bands_are_stretched_too() -> None:
    for code in "hif":
        layout = Raster(code, bands=3, nodata="-32768")
        check_slope(layout.file(WIDTH, HEIGHT, slope(-32768)), bands=3, has_gap=True)
    tiles = Raster("h", bands=3, nodata="-32768", is_planar=True, tile=16)
    check_slope(tiles.file(WIDTH, HEIGHT, slope(-32768)), bands=3, has_gap=True)
    # Also with negative differences
    differences = Raster("h", bands=3, is_packed=True, predictor=2)
    check_slope(differences.file(WIDTH, HEIGHT, lambda band, x, y: 10 * x - 350), bands=3)


def test_files_compressed_by_pillow_are_read_alike() -> None:
    cells = itertools.chain.from_iterable([slope(-9999)(0, x, 0) for x in range(WIDTH)] for _ in range(HEIGHT))
    raster = Image.frombytes("F", (WIDTH, HEIGHT), struct.pack(f"={WIDTH * HEIGHT}f", *cells))
    lzw = {"compression": "tiff_lzw"}
    for options in ({}, lzw, {**lzw, "tiffinfo": {317: 3}}):
        check_slope(encoded(raster, "TIFF", **options), has_gap=True)


# No data


@pytest.mark.parametrize("gap", [-9999.0, -32768.0, -32767.0, -99999.0, -3.4028234663852886e38, math.nan, math.inf])
def test_usual_values_for_no_data_are_transparent_declared_or_not(gap: float) -> None:
    for nodata in (repr(gap), ""):
        check_slope(Raster("f", nodata=nodata).file(WIDTH, HEIGHT, slope(gap)), has_gap=True)


def test_a_declared_value_for_no_data_is_transparent_and_an_invalid_declaration_is_ignored() -> None:
    check_slope(Raster("f", nodata="-1.1").file(WIDTH, HEIGHT, slope(-1.1)), has_gap=True)  # 1.1 is not representable
    for nodata in ("none", "1e999", "-1.7976931348623157e+308", " "):
        check_slope(Raster("f", nodata=nodata).file(WIDTH, HEIGHT, slope(None)))


def test_zero_is_a_value_unless_declared_as_no_data() -> None:
    values = lambda band, x, y: 3 * x  # noqa: E731
    assert fitted(Raster("H").file(WIDTH, HEIGHT, values)).mode in "LP"
    assert fitted(Raster("H", nodata="0").file(WIDTH, HEIGHT, values)).getpixel((0, 9))[1] == 0
    # Bytes are not stretched
    arrives = fitted(Raster("B", nodata="0").file(WIDTH, HEIGHT, values))
    assert [arrives.getpixel((x, 9)) for x in (0, 1, 69)] == [(0, 0), (3, 255), (207, 255)]


def test_an_alpha_band_is_used_as_transparency() -> None:
    def value(band: int, x: int, y: int) -> float:
        return (0 if x >= WIDTH * 4 // 5 else 65535) if band == 3 else slope(7)(band, x, y)

    file = Raster("H", bands=4, photometric=2, extra=(2,)).file(WIDTH, HEIGHT, value)
    check_slope(file, bands=3, has_gap=True)


def test_a_gap_does_not_colour_its_edge() -> None:
    """Scaling does not average an elevation of 100 with a neighbouring -9999."""
    gaps = lambda band, x, y: -9999 if x % 8 == 3 else 100 + y  # noqa: E731
    arrives = fitted(Raster("f").file(160, 30, gaps), MAX_SIZE)
    row = arrives.convert("RGBA").crop((0, 7, 80, 8))
    assert len({colour[0] for colour in (row.getpixel((x, 0)) for x in range(80)) if colour[3]}) == 1


def test_a_raster_without_data_is_transparent_and_one_of_one_value_is_not() -> None:
    for value, alphas in ((-9999.0, (0, 0)), (math.nan, (0, 0)), (12.5, (255, 255))):
        arrives = fitted(Raster("f").file(WIDTH, HEIGHT, lambda band, x, y, value=value: value))
        assert arrives.convert("RGBA").getchannel("A").getextrema() == alphas


# Other files


def test_photos_with_16_bits_per_colour_are_rotated_and_elevations_are_not() -> None:
    photo = fitted(Raster("H", bands=3, photometric=2, orientation=6).file(WIDTH, HEIGHT, slope(None)))
    assert photo.size == (HEIGHT, WIDTH)
    check_slope(encoded(photo.transpose(Image.Transpose.ROTATE_90), "PNG"), bands=3)  # not rotated
    check_slope(Raster("H", orientation=6).file(WIDTH, HEIGHT, slope(None)))


def test_a_photo_with_16_bits_per_colour_and_a_profile_keeps_its_colours() -> None:
    plain = Raster("H", bands=3, photometric=2).file(WIDTH, HEIGHT, lambda band, x, y: 0x4000)
    with Image.open(io.BytesIO(plain)) as picture:
        file = encoded(picture, "TIFF", icc_profile=display_p3())
    assert 50 < fitted(file).convert("L").getpixel((5, 5)) < 80


@pytest.mark.parametrize(
    "raster",
    [
        Raster("e"),  # a float of 16 bits
        Raster("q"),
        Raster("d", is_packed=True, predictor=3),
        Raster("f", bands=3, is_packed=True, predictor=3),
        Raster("H", bands=60),
    ],
)
def test_unsupported_rasters_are_refused_with_a_remedy(raster: Raster) -> None:
    assert "export the layer as a rendered image" in reason(raster.file(WIDTH, HEIGHT, slope(None)))
