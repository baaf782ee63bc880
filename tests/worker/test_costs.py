"""What a picture will cost is known before it is decoded, and what costs too much is refused."""

import io
import random
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from gischat.errors import Uncompliant
from tests.support.pictures import as_base64, encoded, quarters
from tests.worker.pictures import Raster, jpeg_of_size, jpeg_scans, photo, png_chunk, png_of_chunks
from worker.costs import predicted_seconds
from worker.images import fit

MAX_PIXELS = 64_000_000
MOST = 2.0
TOO_LONG = "This picture takes too long to open here: save it as an ordinary JPEG, or make it smaller, and send that."


def is_refused(file: bytes) -> bool:
    try:
        fit(as_base64(file), max_size=800, max_pixels=MAX_PIXELS)
    except Uncompliant as refusal:
        return refusal.reason == TOO_LONG
    return False


def flat_progressive(width: int, height: int, **options: Any) -> bytes:
    """A progressive JPEG of one colour: its scans are nearly empty."""
    return encoded(Image.new("RGB", (width, height), (10, 200, 90)), "JPEG", progressive=True, **options)


# JPEG


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(4000, 3000), (8000, 8000), (65000, 900)])
def test_a_photo_of_any_allowed_size_is_accepted(size: tuple[int, int], progressive: bool, subsampling: str) -> None:
    file = encoded(photo(900, 700), "JPEG", progressive=progressive, subsampling=subsampling)
    largest = jpeg_of_size(file, *size).ljust(9_000_000, b"\0")
    assert predicted_seconds(largest) < MOST


def test_a_phones_photo_is_predicted_within_a_factor_of_its_time() -> None:
    assert 0.1 < predicted_seconds(encoded(photo(4000, 3000), "JPEG", quality=90)) < 0.4


@pytest.mark.parametrize("scan", range(10))
def test_a_progressive_photo_with_many_scans_is_refused_whichever_they_are(scan: int) -> None:
    file = flat_progressive(160, 120, subsampling="4:4:4")
    many = file[:-2] + jpeg_scans(file)[scan] * 190 + file[-2:]
    assert not is_refused(many)  # that small it takes no time
    assert is_refused(jpeg_of_size(many, 8000, 7000))


def test_more_scans_more_pixels_and_more_bytes_cost_more() -> None:
    file = flat_progressive(160, 120)
    scan = jpeg_scans(file)[-1]
    for size in ((160, 120), (4000, 3000)):
        few, many = (jpeg_of_size(file[:-2] + scan * number + file[-2:], *size) for number in (10, 90))
        assert predicted_seconds(few) < predicted_seconds(many)
    assert predicted_seconds(jpeg_of_size(few, 800, 600)) < predicted_seconds(jpeg_of_size(few, 4000, 3000))
    assert predicted_seconds(encoded(photo(800, 600), "JPEG")) < predicted_seconds(encoded(photo(1600, 1200), "JPEG"))


def test_scans_that_end_in_a_cut_header_are_counted_too() -> None:
    file = jpeg_of_size(flat_progressive(160, 120), 8000, 7000)
    many = file[:-2] + jpeg_scans(file)[-1] * 190
    for end in (b"", b"\xff\xda", b"\xff\xda\0", b"\xff\xda\0\x08\1\1", b"\xff\xc2\0\x11"):
        assert is_refused(many + end)


def test_a_film_behind_a_photo_has_no_scans() -> None:
    """Phones put one there; among its bytes are some that look like the start of a scan."""
    still = jpeg_of_size(flat_progressive(160, 120), 8000, 6000)
    film = random.Random(3).randbytes(100_000) + b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0" * 500
    assert predicted_seconds(still + film) < predicted_seconds(still) + 0.01


def test_what_looks_like_a_scan_or_an_end_within_a_segment_is_neither() -> None:
    file = flat_progressive(160, 120)
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 600) + b"\xff\xda\0\x08\1\1" * 100
    assert predicted_seconds(file[:2] + comment + file[2:]) < predicted_seconds(file) + 0.01
    scan = jpeg_scans(file)[-1]
    end_in_comment = b"\xff\xfe\0\4\xff\xd9"
    assert is_refused(jpeg_of_size(file[:-2] + end_in_comment + scan * 190 + file[-2:], 8000, 7000))


def test_a_photo_in_arithmetic_coding_with_many_scans_is_refused() -> None:
    file = encoded(Image.new("L", (160, 120), 100), "JPEG", progressive=True)
    at = file.index(b"\xff\xc2\0")
    large = jpeg_of_size(file, 8000, 7000)
    assert is_refused(large[:at] + b"\xff\xca" + large[at + 2 :])


@pytest.mark.parametrize(
    "filling",
    [
        pytest.param(b"\xff\xfe\0\2" * 200_000, id="empty comments"),
        pytest.param(bytes(9_900_000), id="zeros between its segments"),
    ],
)
def test_a_jpeg_that_would_be_walked_through_in_python_is_refused(filling: bytes) -> None:
    file = encoded(quarters(90, 70), "JPEG")
    assert is_refused(file[:20] + filling + file[20:])


# Others


def gif_with(blocks: bytes) -> bytes:
    file = encoded(Image.new("P", (30, 20)), "GIF")
    at = file.index(b",\0\0\0\0")
    return file[:at] + blocks + file[at:]


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(gif_with(b"!\xfe" + b"\1x" * 50_000 + b"\0"), id="GIF with a comment of single letters"),
        pytest.param(gif_with(b"!\xfe\0" * 50_000), id="GIF with empty comments"),
        pytest.param(
            b"BM"
            + struct.pack("<IIIIiiHHIIIIII", 0, 0, 54 + 1024, 40, 5000, 5000, 1, 8, 1, 0, 0, 0, 0, 0)
            + bytes(1024)
            + b"\1\7" * 4_000_000,
            id="BMP packed in runs of one",
        ),
        pytest.param(
            Raster("B", bands=3, is_packed=True, predictor=2)
            .file(1, 1, lambda band, x, y: 0)
            .replace(struct.pack("<HHII", 256, 4, 1, 1), struct.pack("<HHII", 256, 4, 1, 50_000_000)),
            id="TIFF with a long row of differences",
        ),
        pytest.param(b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x08free" * 100_000, id="JPEG 2000 of empty boxes"),
        pytest.param(
            b"\xff\x4f\xff\x51\0\x29\0\0"
            + struct.pack(">8IHBBB", 8000, 8000, 0, 0, 9, 9, 0, 0, 1, 7, 1, 1)
            + bytes(99),
            id="JPEG 2000 of very many tiles",
        ),
    ],
)
def test_what_takes_a_step_in_python_for_each_few_bytes_is_refused(file: bytes) -> None:
    assert is_refused(file)


def test_a_tiff_of_progressive_strips_is_counted_by_their_scans() -> None:
    strip = flat_progressive(160, 120)
    scans = strip[:-2] + jpeg_scans(strip)[-1] * 90 + strip[-2:]
    directory = Raster("B", bands=3, photometric=6).file(8000, 4, lambda band, x, y: 0)
    jpeg = directory.replace(struct.pack("<HHIHH", 259, 3, 1, 1, 0), struct.pack("<HHIHH", 259, 3, 1, 7, 0))
    tall = jpeg.replace(struct.pack("<HHII", 257, 4, 1, 4), struct.pack("<HHII", 257, 4, 1, 8000))
    assert predicted_seconds(tall) < MOST < predicted_seconds(tall + scans)


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return png_of_chunks((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(png(8000, 8000), id="PNG"),
        pytest.param(png(8000, 8000, colour=6, interlaced=1), id="PNG, interlaced"),
        pytest.param(png(8000, 8000, depth=1, colour=0), id="PNG, black and white"),
        pytest.param(b"GIF89a" + struct.pack("<HH", 8000, 8000) + b"\0\0\0,", id="GIF"),
        pytest.param(b"BM" + struct.pack("<IIIIiiHHIIIIII", 58, 0, 54, 40, 8000, -8000, 1, 24, *[0] * 6), id="BMP"),
        pytest.param(b"RIFF\x1e\0\0\0WEBPVP8 \x12\0\0\0\0\0\0\x9d\1*" + struct.pack("<HH8x", 8000, 8000), id="WebP"),
    ],
)
def test_an_ordinary_file_of_the_largest_size_is_not_refused_for_its_cost(file: bytes) -> None:
    assert 0.2 < predicted_seconds(file.ljust(4_000_000, b"\0")) < MOST


def test_pngs_of_very_many_empty_chunks_are_as_cheap_as_one() -> None:
    file = encoded(quarters(90, 70), "PNG")
    many = file[:33] + png_chunk(b"IDAT", b"") * 40_000 + file[33:]
    with Image.open(io.BytesIO(file)) as picture:
        assert picture.size == (90, 70)
    assert not is_refused(many)


@pytest.mark.parametrize(
    "file", [b"", b"x", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF1234WEBP"]
)
def test_anything_has_a_prediction(file: bytes) -> None:
    for size in (0, 1, 7, 40):
        assert 0 < predicted_seconds(file + bytes(size)) < 1


def test_whatever_comes_has_a_prediction() -> None:
    chance = random.Random(4)
    files = [
        encoded(photo(90, 70), format_) for format_ in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000")
    ]
    for file in files:
        for _ in range(200):
            broken = bytearray(file)
            for _ in range(4):
                broken[min(int(chance.expovariate(1 / 40)), len(file) - 1)] = chance.randrange(256)
            assert predicted_seconds(bytes(broken[: chance.randint(1, len(file))])) > 0
