"""Rasters of elevations and satellite bands: stretched as in QGIS, and transparent where they have no data."""

import io
import itertools
import math
import struct
from collections.abc import Callable

import pytest
from PIL import Image

from gischat.errors import Uncompliant
from tests.support.pictures import as_base64, encoded, opened
from tests.worker.pictures import Raster, display_p3
from worker.images import fit

WIDTH, HEIGHT = 70, 50
SIZES = [(WIDTH, HEIGHT), (900, 40)]  # unscaled, and scaled down to 800 pixels


def fitted(file: bytes) -> Image.Image:
    return opened(fit(as_base64(file), max_size=800, max_pixels=64_000_000))


def reason(file: bytes) -> str:
    with pytest.raises(Uncompliant) as refusal:
        fit(as_base64(file), max_size=800, max_pixels=64_000_000)
    return refusal.value.reason


def slope(gap: float | None, width: int, steepness: float = 10) -> Callable[[int, int, int], float]:
    """Values from 100 in the west, each band half as steep as the one before it; a gap in the last fifth, or none."""
    return lambda band, x, y: (
        gap if gap is not None and x >= width * 4 // 5 else 100 + x * 70 * steepness // (width * 2**band)
    )


def greys_from_west_to_east(picture: Image.Image, band: int) -> list[int]:
    row = picture.convert("RGB").getchannel(band).crop((0, picture.height // 2, picture.width, picture.height // 2 + 1))
    return list(row.tobytes())


def check_slope(picture: Image.Image, *, bands: int, has_gap: bool) -> None:
    """Check that each band has all greys, evenly, from the west to the gap."""
    end = picture.width * 4 // 5 if has_gap else picture.width
    for band in range(bands):
        greys = greys_from_west_to_east(picture, band)[:end]
        assert greys == sorted(greys)
        assert (greys[0], greys[-1]) == (0, 255)
        assert abs(greys[end // 2] - 128) < 12
    assert picture.mode in ({"LA", "RGBA"} if has_gap else {"L", "RGB", "P"})
    if has_gap:
        alphas = set(picture.getchannel("A").crop((end + 1, 0, picture.width, picture.height)).tobytes())
        assert alphas == {0}
        assert set(picture.getchannel("A").crop((0, 0, end - 1, picture.height)).tobytes()) == {255}


# File types


@pytest.mark.parametrize(("order", "size"), list(zip("<>", SIZES, strict=True)))
@pytest.mark.parametrize("code", "hHiIfd")
def test_elevations_of_each_type_are_stretched_without_their_gaps(code: str, order: str, size: tuple[int, int]) -> None:
    gap = 65535 if code.isupper() else -9999
    file = Raster(code, order=order, nodata=str(gap)).file(*size, slope(gap, size[0]))
    check_slope(fitted(file), bands=1, has_gap=True)


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
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_satellite_band_is_stretched(layout: Raster, bands: int, order: str, size: tuple[int, int]) -> None:
    fields = vars(layout) | {"bands": bands, "order": order, "photometric": layout.photometric if bands >= 3 else 1}
    file = Raster(**fields).file(*size, slope(None, size[0]))
    check_slope(fitted(file), bands=min(bands, 3), has_gap=False)


@pytest.mark.parametrize("code", "hif")
def test_signed_bands_are_stretched_too(code: str) -> None:
    gap = -32768
    for layout in (
        Raster(code, bands=3, nodata="-32768"),
        Raster(code, bands=3, nodata="-32768", is_planar=True, tile=16),
    ):
        check_slope(fitted(layout.file(WIDTH, HEIGHT, slope(gap, WIDTH))), bands=3, has_gap=True)


def test_negative_differences_of_a_predictor_are_read() -> None:
    file = Raster("h", bands=3, is_packed=True, predictor=2).file(WIDTH, HEIGHT, lambda band, x, y: 10 * x - 350)
    check_slope(fitted(file), bands=3, has_gap=False)


@pytest.mark.parametrize(
    "options", [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_lzw", "tiffinfo": {317: 3}}]
)
def test_files_compressed_by_pillow_are_read_alike(options: dict[str, object]) -> None:
    cells = itertools.chain.from_iterable([slope(-9999, WIDTH)(0, x, 0) for x in range(WIDTH)] for _ in range(HEIGHT))
    raster = Image.frombytes("F", (WIDTH, HEIGHT), struct.pack(f"={WIDTH * HEIGHT}f", *cells))
    check_slope(fitted(encoded(raster, "TIFF", **options)), bands=1, has_gap=True)


# No data


@pytest.mark.parametrize("gap", [-9999.0, -32768.0, -32767.0, -99999.0, -3.4028234663852886e38, math.nan, math.inf])
@pytest.mark.parametrize("said", [True, False])
def test_usual_values_for_no_data_are_transparent_declared_or_not(gap: float, said: bool) -> None:
    file = Raster("f", nodata=repr(gap) if said else "").file(WIDTH, HEIGHT, slope(gap, WIDTH))
    check_slope(fitted(file), bands=1, has_gap=True)


def test_a_declared_value_for_no_data_is_transparent() -> None:
    file = Raster("f", nodata="-1.1").file(WIDTH, HEIGHT, slope(-1.1, WIDTH))  # 1.1 is not representable
    check_slope(fitted(file), bands=1, has_gap=True)


@pytest.mark.parametrize("nodata", ["none", "1e999", "-1.7976931348623157e+308", " "])
def test_an_invalid_declaration_of_no_data_is_ignored(nodata: str) -> None:
    check_slope(fitted(Raster("f", nodata=nodata).file(WIDTH, HEIGHT, slope(None, WIDTH))), bands=1, has_gap=False)


def test_zero_is_a_value_unless_declared_as_no_data() -> None:
    values = lambda band, x, y: 10 * x  # noqa: E731
    assert fitted(Raster("H").file(WIDTH, HEIGHT, values)).mode in "LP"
    assert fitted(Raster("H", nodata="0").file(WIDTH, HEIGHT, values)).getpixel((0, 9))[1] == 0


def test_bytes_are_not_stretched_and_transparent_where_declared() -> None:
    arrives = fitted(Raster("B", nodata="0").file(WIDTH, HEIGHT, lambda band, x, y: 3 * x))
    assert [arrives.getpixel((x, 9)) for x in (0, 1, 69)] == [(0, 0), (3, 255), (207, 255)]


def test_an_alpha_band_is_used_as_transparency() -> None:
    def value(band: int, x: int, y: int) -> float:
        return (0 if x >= WIDTH * 4 // 5 else 65535) if band == 3 else slope(7, WIDTH)(band, x, y)

    file = Raster("H", bands=4, photometric=2, extra=(2,)).file(WIDTH, HEIGHT, value)
    check_slope(fitted(file), bands=3, has_gap=True)


def test_a_gap_does_not_colour_its_edge() -> None:
    """Scaling does not average an elevation of 100 with a neighbouring -9999."""
    gaps = lambda band, x, y: -9999 if x % 8 == 3 else 100 + y  # noqa: E731
    arrives = fitted(Raster("f").file(1600, 300, gaps))
    row = arrives.convert("RGBA").crop((0, 75, 800, 76))
    assert len({colour[0] for colour in (row.getpixel((x, 0)) for x in range(800)) if colour[3]}) == 1


@pytest.mark.parametrize("gap", [-9999.0, math.nan])
def test_a_raster_without_data_is_transparent(gap: float) -> None:
    arrives = fitted(Raster("f").file(WIDTH, HEIGHT, lambda band, x, y: gap))
    assert arrives.getchannel("A").getextrema() == (0, 0)


# Orientation


def test_photos_with_16_bits_per_colour_are_rotated_and_elevations_are_not() -> None:
    photo = Raster("H", bands=3, photometric=2, orientation=6).file(WIDTH, HEIGHT, slope(None, WIDTH))
    arrives = fitted(photo)
    assert arrives.size == (HEIGHT, WIDTH)
    check_slope(arrives.transpose(Image.Transpose.ROTATE_90), bands=3, has_gap=False)  # not rotated
    elevations = Raster("H", orientation=6).file(WIDTH, HEIGHT, slope(None, WIDTH))
    check_slope(fitted(elevations), bands=1, has_gap=False)


# Other files


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
    assert "export the layer as a rendered image" in reason(raster.file(WIDTH, HEIGHT, slope(None, WIDTH)))
