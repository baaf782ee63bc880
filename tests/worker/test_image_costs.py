"""A picture's cost is predicted before it is decoded; pictures that cost too much are refused."""

import random
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from gischat.errors import Uncompliant
from tests.support.pictures import as_base64, encoded, quarters
from tests.worker.pictures import (
    DAMAGED,
    MAX_PIXELS,
    TOO_LONG,
    UNREADABLE,
    Raster,
    fitted,
    grey_tiff,
    ihdr,
    jpeg_of_size,
    jpeg_scans,
    photo,
    png_chunk,
    png_chunks,
    png_of_chunks,
    reason,
)
from worker.image_costs import TakesLonger, estimate
from worker.image_repair import slim_png
from worker.images import fit

MOST = 2.0


def seconds(file: bytes) -> float:
    return estimate(file).seconds


def is_refused(file: bytes) -> bool:
    try:
        fit(as_base64(file), max_size=800, max_pixels=MAX_PIXELS)
    except Uncompliant as refusal:
        return refusal.reason == TOO_LONG
    return False


# JPEG


def flat_progressive(width: int = 160, height: int = 120, **options: Any) -> bytes:
    """A progressive JPEG of one colour: its scans are nearly empty."""
    return encoded(Image.new("RGB", (width, height), (10, 200, 90)), "JPEG", progressive=True, **options)


def test_photos_of_all_allowed_sizes_are_accepted() -> None:
    for progressive in (False, True):
        for subsampling in ("4:4:4", "4:2:0"):
            file = encoded(photo(450, 350), "JPEG", progressive=progressive, subsampling=subsampling)
            for size in ((4000, 3000), (8000, 8000), (65000, 900)):
                assert seconds(jpeg_of_size(file, *size).ljust(9_000_000, b"\0")) < MOST
    # The prediction for a phone's photo is about right
    file = encoded(photo(450, 350), "JPEG", quality=90)
    assert 0.1 < seconds(jpeg_of_size(file, 4000, 3000).ljust(4_000_000, b"\0")) < 0.4


def test_a_progressive_photo_with_many_scans_of_any_kind_is_refused() -> None:
    file = flat_progressive(subsampling="4:4:4")
    scans = jpeg_scans(file)
    assert len(scans) == 10
    for scan in scans:
        many = file[:-2] + scan * 190 + file[-2:]
        assert seconds(many) < MOST  # a small one takes no time
        assert is_refused(jpeg_of_size(many, 8000, 7000))
    assert not is_refused(many)
    # Also if it is arithmetic-coded, or ends within a header
    grey = encoded(Image.new("L", (160, 120), 100), "JPEG", progressive=True)
    at = grey.index(b"\xff\xc2\0")
    large = jpeg_of_size(grey, 8000, 7000)
    assert is_refused(large[:at] + b"\xff\xca" + large[at + 2 :])
    many = jpeg_of_size(file, 8000, 7000)[:-2] + scans[-1] * 190
    for end in (b"", b"\xff\xda", b"\xff\xda\0", b"\xff\xda\0\x08\1\1", b"\xff\xc2\0\x11"):
        assert is_refused(many + end)


def test_more_scans_more_pixels_and_more_bytes_cost_more() -> None:
    file = flat_progressive()
    scan = jpeg_scans(file)[-1]
    for size in ((160, 120), (4000, 3000)):
        few, many = (jpeg_of_size(file[:-2] + scan * number + file[-2:], *size) for number in (10, 90))
        assert seconds(few) < seconds(many)
    assert seconds(jpeg_of_size(few, 800, 600)) < seconds(jpeg_of_size(few, 4000, 3000))
    assert seconds(file) < seconds(file.ljust(100_000, b"\0"))


def test_what_only_resembles_scans_is_not_counted() -> None:
    # Phones append a video, some bytes of which look like the start of a scan
    still = jpeg_of_size(flat_progressive(), 8000, 6000)
    film = random.Random(3).randbytes(100_000) + b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0" * 500
    assert seconds(still + film) < seconds(still) + 0.01
    # Markers within a segment
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 600) + b"\xff\xda\0\x08\1\1" * 100
    assert seconds(still[:2] + comment + still[2:]) < seconds(still) + 0.01
    end_in_comment = b"\xff\xfe\0\4\xff\xd9"
    assert is_refused(still[:-2] + end_in_comment + jpeg_scans(still)[-1] * 190 + still[-2:])


def segments(marker: int, content: bytes, number: int) -> bytes:
    return (b"\xff" + struct.pack(">BH", marker, 2 + len(content)) + content) * number


@pytest.mark.parametrize(
    "filling",
    [
        pytest.param(b"\xff\xfe\0\2" * 200_000, id="empty comments"),
        pytest.param(bytes(9_900_000), id="zeros between its segments"),
        pytest.param(segments(0xED, b"Photoshop 3.0\0" + b"8BIM\4\5\0\0\0\0\0\0" * 5000, 300), id="Photoshop's notes"),
        pytest.param(segments(0xE1, b"Exif\0\0" + bytes(65000), 150), id="EXIF without end"),
        pytest.param(segments(0xDB, (b"\0" + b"\1" * 64) * 1000, 300), id="tables without end"),
    ],
)
def test_a_jpeg_that_pillow_would_parse_slowly_in_python_is_refused(filling: bytes) -> None:
    file = encoded(quarters(90, 70), "JPEG")
    assert is_refused(file[:20] + filling + file[20:])


# Other formats


def gif_with(blocks: bytes) -> bytes:
    file = encoded(Image.new("P", (30, 20)), "GIF")
    at = file.index(b",\0\0\0\0")
    return file[:at] + blocks + file[at:]


def bmp(bits: int, compression: int, pixels: bytes = b"", size: tuple[int, int] = (8000, 7000)) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 0, 0, 54, 40, *size, 1, bits, compression, *[0] * 5) + pixels


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
    header = ihdr(width, height, depth=depth, colour=colour, interlaced=interlaced)
    return png_of_chunks(header, (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(gif_with(b"!\xfe" + b"\1x" * 50_000 + b"\0"), id="GIF with a comment of single letters"),
        pytest.param(gif_with(b"!\xfe\0" * 50_000), id="GIF with empty comments"),
        *(pytest.param(bmp(bits, 1, b"\1\1" * 2_000_000), id=f"packed BMP of {bits} bits") for bits in (1, 8, 24)),
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
        pytest.param(png(1, 60_000_000, colour=0), id="PNG of very many rows"),
    ],
)
def test_files_that_take_a_step_per_few_bytes_are_refused(file: bytes) -> None:
    assert is_refused(file)


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(png(8000, 8000), id="PNG"),
        pytest.param(png(8000, 8000, colour=6, interlaced=1), id="PNG, interlaced"),
        pytest.param(png(8000, 8000, depth=1, colour=0), id="PNG, black and white"),
        pytest.param(png(60_000_000, 1, colour=0), id="PNG of one row"),
        pytest.param(b"GIF89a" + struct.pack("<HH", 8000, 8000) + b"\0\0\0,", id="GIF"),
        pytest.param(bmp(24, 0, size=(8000, -8000)), id="BMP"),
        pytest.param(b"RIFF\x1e\0\0\0WEBPVP8 \x12\0\0\0\0\0\0\x9d\1*" + struct.pack("<HH8x", 8000, 8000), id="WebP"),
    ],
)
def test_ordinary_files_of_the_largest_size_are_accepted(file: bytes) -> None:
    assert 0.2 < seconds(file.ljust(4_000_000, b"\0")) < MOST


def test_a_png_with_transparency_costs_more() -> None:
    file = png(8000, 8000, colour=0)
    clear = file[:33] + png_chunk(b"tRNS", b"\0\1") + file[33:]
    assert seconds(file) + 0.3 < seconds(clear) < MOST


def test_a_gif_costs_what_its_first_frame_does() -> None:
    file = encoded(Image.new("P", (4000, 3000)), "GIF")
    on_a_small_screen = file[:6] + struct.pack("<HH", 1, 1) + file[10:]
    assert seconds(on_a_small_screen) == seconds(file)
    at = on_a_small_screen.index(b",\0\0\0\0")
    # Blocks whose length equals the byte that begins a frame or an extension are still blocks, and Pillow skips bytes
    # that begin nothing
    for between in (b"", b"!\xfe" + b"\x2c" * 45 + b"\x21" * 34 + b"\0", b"\7"):
        assert estimate(on_a_small_screen[:at] + between + on_a_small_screen[at:]).size == (4000, 3000)


def test_the_size_of_an_avif_is_found_after_its_pixels() -> None:
    film = b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(2 << 20)
    assert estimate(film + b"\0\0\0\x14ispe\0\0\0\0" + struct.pack(">II", 4000, 3000)).size == (4000, 3000)


def test_a_picture_larger_than_its_header_says_is_not_decoded() -> None:
    """Pillow reads the size from the file's header box, its library from the codestream."""
    file = bytearray(encoded(quarters(90, 70), "JPEG2000"))
    at = file.index(b"\xff\x4f\xff\x51")
    struct.pack_into(">II", file, at + 8, 60, 70)
    assert reason(bytes(file)) == DAMAGED


# PNGs with malicious chunks


def png_of_pixels(*chunks: tuple[bytes, bytes]) -> bytes:
    """A grey PNG of these chunks and its pixels; the header must be among the chunks."""
    return png_of_chunks(*chunks, (b"IDAT", zlib.compress(bytes(81 * 70))), (b"IEND", b""))


HEADER = ihdr(80, 70, colour=0)
MEGABYTE = zlib.compress(bytes((1 << 20) - 1))


def test_of_repeated_png_chunks_only_the_first_is_kept() -> None:
    for chunk in (
        (b"iCCP", b"P3\0\0" + MEGABYTE),
        (b"zTXt", b"Raw profile type exif\0\0" + MEGABYTE),
        (b"tEXt", b"Raw profile type exif\0" + bytes(1000)),
        (b"eXIf", b"II*\0"),
        (b"tRNS", b"\0\1"),
    ):
        assert png_chunks(slim_png(png_of_pixels(HEADER, *[chunk] * 50))) == [b"IHDR", chunk[0], b"IDAT", b"IEND"]
    # A second profile does not replace one that is too large: each would be decompressed to find its size
    large = (b"iCCP", b"P3\0\0" + zlib.compress(bytes(1 << 21)))
    slim = slim_png(png_of_pixels(HEADER, large, (b"iCCP", b"P3\0\0" + MEGABYTE)))
    assert png_chunks(slim) == [b"IHDR", b"IDAT", b"IEND"]
    # A second header does not make it larger, and empty pixels do not make it slower
    assert fitted(png_of_pixels(HEADER, ihdr(8000, 7000, depth=16, colour=6))).size == (80, 70)
    assert fitted(png_of_pixels(HEADER, *[(b"IDAT", b"")] * 40_000)).size == (80, 70)


@pytest.mark.parametrize("name", [b"tEXt", b"ihdr", b"CgBI"])
def test_a_png_that_begins_with_another_chunk_is_not_decoded(name: bytes) -> None:
    file = png_of_pixels((name, HEADER[1]), HEADER)
    assert estimate(file).is_broken
    assert reason(file) == UNREADABLE
    with pytest.raises(ValueError, match="another chunk"):
        slim_png(file)


# TIFFs with malicious directories


def test_the_scans_of_a_tiffs_progressive_strips_are_counted() -> None:
    strip = flat_progressive()
    scans = strip[:-2] + jpeg_scans(strip)[-1] * 90 + strip[-2:]
    jpeg = {"compression": (259, 3, 1, 7), "photometric": (262, 3, 1, 6), "samples": (277, 3, 1, 3)}
    tall = grey_tiff(8000, 8000, **jpeg)
    assert seconds(tall) < MOST < seconds(tall + scans)


def tiled_tiff(width: int, height: int, across: int, down: int, **others: tuple[int, int, int, int]) -> bytes:
    """A grey TIFF whose tiles are all the same bytes."""
    tile = zlib.compress(bytes(min(across * down, 1 << 20)))  # nothing larger is decoded here
    number = -(-width // across) * -(-height // down)
    tiles = {"compression": (259, 3, 1, 8), "across": (322, 4, 1, across), "down": (323, 4, 1, down)} | others
    tiles |= {"strip_offsets": (324, 4, number, 0), "strip_sizes": (325, 4, number, len(tile))}
    at = len(grey_tiff(width, height, **tiles))
    if number == 1:
        tiles["strip_offsets"] = (324, 4, 1, at)
        return grey_tiff(width, height, **tiles) + tile
    tiles |= {"strip_offsets": (324, 4, number, at), "strip_sizes": (325, 4, number, at + 4 * number)}
    values = struct.pack(f"<{2 * number}I", *[at + 8 * number] * number, *[len(tile)] * number)
    return grey_tiff(width, height, **tiles) + values + tile


def test_a_tiff_costs_what_its_tiles_do() -> None:
    assert seconds(tiled_tiff(8, 800, 16, 16)) < 0.1 < 0.4 < seconds(tiled_tiff(8, 800, 65536, 16))
    differences = {"predictor": (317, 3, 1, 2), "format": (339, 3, 1, 1), "samples": (277, 3, 1, 3)}
    assert seconds(tiled_tiff(8, 800, 16, 16, **differences)) < 0.1
    assert is_refused(tiled_tiff(8, 800, 65536, 16, **differences))
    assert reason(tiled_tiff(1, 1, 12000, 9600)) == (
        "The tiles of this TIFF are too large: save it with tiles of 256 × 256 pixels, and send that."
    )
    # What the tiles at the edges have more than the picture does not count against the pixel limit
    with pytest.raises(TakesLonger):
        fit(as_base64(tiled_tiff(8000, 8000, 4096, 512)), max_size=800, max_pixels=MAX_PIXELS, most_seconds=0.01)
    assert fitted(tiled_tiff(9, 7, 512, 512)).size == (9, 7)


def test_a_photo_with_a_predictor_costs_less_than_a_raster() -> None:
    file = encoded(Image.new("RGB", (3000, 2000)), "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    assert estimate(file).size == (3000, 2000)
    assert seconds(file) < 0.2
    measured = file.replace(struct.pack("<HHIH", 262, 3, 1, 2), struct.pack("<HHIH", 262, 3, 1, 1))
    assert seconds(measured) > 0.5


def test_strips_are_counted_for_any_type_of_their_offsets_and_each_if_they_overlap() -> None:
    number, one_row = 500_000, {"rows_per_strip": (278, 4, 1, 1)}
    for type_ in (4, 9):
        file = grey_tiff(8, number, **one_row, strip_offsets=(273, type_, number, 200))
        assert is_refused(file.ljust(200, b"\0") + struct.pack("<I", 8) * number)
    # To Pillow, the bytes of an untyped tag are numbers
    assert is_refused(grey_tiff(8, 8, strip_offsets=(273, 7, number, 200)).ljust(200 + number, b"\0"))
    # Pillow decompresses the whole picture for each strip
    one, many = (
        grey_tiff(2000, 2000, rows_per_strip=(278, 4, 1, 2001), strip_offsets=(273, 4, number, 200))
        for number in (1, 500)
    )
    assert seconds(one.ljust(4_000_200, b"\0")) < 0.2
    assert is_refused(many.ljust(4_000_200, b"\0"))
    # A megabyte of empty blocks after a strip's only row decompresses to nothing, but takes its time for each
    file = grey_tiff(100, 500, **one_row, strip_offsets=(273, 4, 500, 200), strip_sizes=(279, 4, 500, 2200))
    file = file.ljust(2200, b"\0") + struct.pack("<500I", *[1_000_000] * 500)
    assert is_refused(file.ljust(1_004_200, b"\0"))


@pytest.mark.parametrize("tag", [274, 338, 700, 34675])
def test_a_tiff_with_very_many_fractions_is_refused(tag: int) -> None:
    """Pillow makes an object of each fraction."""
    for more in ({}, {"unknown": (60000, 99, 1, 0)}):
        assert seconds(grey_tiff(9, 7, resolution=(282, 5, 1, 8), **more).ljust(9_000_000, b"\0")) < 0.2
        assert is_refused(grey_tiff(9, 7, many=(tag, 5, 1_000_000, 8), **more).ljust(9_000_000, b"\0"))


@pytest.mark.parametrize(
    "others",
    [
        pytest.param({"predictor": (317, 2, 1, 1)}, id="a predictor in letters"),
        pytest.param({"predictor": (317, 99, 1, 1)}, id="a type that nobody knows"),
        pytest.param({"again": (273, 4, 2, 8)}, id="offsets that come twice"),
        pytest.param({"rows_per_strip": (278, 9, 1, 0xFFFFFFFF)}, id="less than no rows"),
        pytest.param({"tile": (322, 4, 1, 0), "tiles": (324, 4, 1, 8)}, id="tiles of no width"),
        pytest.param({"bits": (258, 3, 1 << 30, 8)}, id="more values than bytes"),
    ],
)
def test_a_tiff_with_an_invalid_directory_is_not_decoded(others: dict[str, tuple[int, int, int, int]]) -> None:
    assert not estimate(grey_tiff(9, 7) + bytes(99)).is_broken
    assert reason(grey_tiff(9, 7, **others) + bytes(99)).startswith("This TIFF is damaged")


@pytest.mark.parametrize("magic", [b"II\0*", b"MM*\0"])
def test_a_tiff_with_a_byte_swapped_version_has_a_prediction(magic: bytes) -> None:
    """Pillow reads such files."""
    file = Raster("B", order="<" if magic[:1] == b"I" else ">").file(70, 50, lambda band, x, y: x)
    assert estimate(magic + file[4:]).size == (70, 50)
