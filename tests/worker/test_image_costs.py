"""A picture's cost is predicted before it is decoded; pictures that cost too much are refused."""

import io
import random
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from gischat.errors import Uncompliant
from tests.support.pictures import as_base64, encoded, opened, quarters
from tests.worker.pictures import (
    Raster,
    jpeg_of_size,
    jpeg_scans,
    photo,
    png_chunk,
    png_chunks,
    png_of_chunks,
    tiff_of_tags,
)
from worker.image_costs import TakesLonger, estimate
from worker.image_repair import slim_png
from worker.images import fit

MAX_PIXELS = 64_000_000
MOST = 2.0
UNREADABLE = "The image file is damaged, incomplete or of a kind that cannot be read here."
DAMAGED = "The image file is damaged or incomplete."
TOO_LONG = "This picture takes too long to open here: save it as an ordinary JPEG, or make it smaller, and send that."


def reason(file: bytes) -> str:
    with pytest.raises(Uncompliant) as refusal:
        fit(as_base64(file), max_size=800, max_pixels=MAX_PIXELS)
    return refusal.value.reason


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
def test_photos_of_all_allowed_sizes_are_accepted(size: tuple[int, int], progressive: bool, subsampling: str) -> None:
    file = encoded(photo(900, 700), "JPEG", progressive=progressive, subsampling=subsampling)
    largest = jpeg_of_size(file, *size).ljust(9_000_000, b"\0")
    assert estimate(largest).seconds < MOST


def test_the_prediction_for_a_phones_photo_is_about_right() -> None:
    file = encoded(photo(900, 700), "JPEG", quality=90)
    assert 0.1 < estimate(jpeg_of_size(file, 4000, 3000).ljust(4_000_000, b"\0")).seconds < 0.4


@pytest.mark.parametrize("scan", range(10))
def test_a_progressive_photo_with_many_scans_of_any_kind_is_refused(scan: int) -> None:
    file = flat_progressive(160, 120, subsampling="4:4:4")
    many = file[:-2] + jpeg_scans(file)[scan] * 190 + file[-2:]
    assert not is_refused(many)  # a small one takes no time
    assert is_refused(jpeg_of_size(many, 8000, 7000))


def test_more_scans_more_pixels_and_more_bytes_cost_more() -> None:
    file = flat_progressive(160, 120)
    scan = jpeg_scans(file)[-1]
    for size in ((160, 120), (4000, 3000)):
        few, many = (jpeg_of_size(file[:-2] + scan * number + file[-2:], *size) for number in (10, 90))
        assert estimate(few).seconds < estimate(many).seconds
    assert estimate(jpeg_of_size(few, 800, 600)).seconds < estimate(jpeg_of_size(few, 4000, 3000)).seconds
    assert estimate(encoded(photo(800, 600), "JPEG")).seconds < estimate(encoded(photo(1600, 1200), "JPEG")).seconds


def test_scans_before_a_truncated_header_are_counted() -> None:
    file = jpeg_of_size(flat_progressive(160, 120), 8000, 7000)
    many = file[:-2] + jpeg_scans(file)[-1] * 190
    for end in (b"", b"\xff\xda", b"\xff\xda\0", b"\xff\xda\0\x08\1\1", b"\xff\xc2\0\x11"):
        assert is_refused(many + end)


def test_a_video_after_a_photo_has_no_scans() -> None:
    """Phones append one; some of its bytes look like the start of a scan."""
    still = jpeg_of_size(flat_progressive(160, 120), 8000, 6000)
    film = random.Random(3).randbytes(100_000) + b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0" * 500
    assert estimate(still + film).seconds < estimate(still).seconds + 0.01


def test_scan_and_end_markers_within_a_segment_are_ignored() -> None:
    file = flat_progressive(160, 120)
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 600) + b"\xff\xda\0\x08\1\1" * 100
    assert estimate(file[:2] + comment + file[2:]).seconds < estimate(file).seconds + 0.01
    scan = jpeg_scans(file)[-1]
    end_in_comment = b"\xff\xfe\0\4\xff\xd9"
    assert is_refused(jpeg_of_size(file[:-2] + end_in_comment + scan * 190 + file[-2:], 8000, 7000))


def test_an_arithmetic_coded_photo_with_many_scans_is_refused() -> None:
    file = encoded(Image.new("L", (160, 120), 100), "JPEG", progressive=True)
    at = file.index(b"\xff\xc2\0")
    large = jpeg_of_size(file, 8000, 7000)
    assert is_refused(large[:at] + b"\xff\xca" + large[at + 2 :])


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
def test_files_that_take_a_python_step_per_few_bytes_are_refused(file: bytes) -> None:
    assert is_refused(file)


def test_the_scans_of_a_tiffs_progressive_strips_are_counted() -> None:
    strip = flat_progressive(160, 120)
    scans = strip[:-2] + jpeg_scans(strip)[-1] * 90 + strip[-2:]
    directory = Raster("B", bands=3, photometric=6).file(8000, 4, lambda band, x, y: 0)
    jpeg = directory.replace(struct.pack("<HHIHH", 259, 3, 1, 1, 0), struct.pack("<HHIHH", 259, 3, 1, 7, 0))
    tall = jpeg.replace(struct.pack("<HHII", 257, 4, 1, 4), struct.pack("<HHII", 257, 4, 1, 8000))
    assert estimate(tall).seconds < MOST < estimate(tall + scans).seconds


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
def test_ordinary_files_of_the_largest_size_are_accepted(file: bytes) -> None:
    assert 0.2 < estimate(file.ljust(4_000_000, b"\0")).seconds < MOST


def test_a_png_of_very_many_rows_is_refused() -> None:
    assert estimate(png(60_000_000, 1, colour=0)).seconds < 1
    assert is_refused(png(1, 60_000_000, colour=0))


def test_a_png_with_transparency_costs_more() -> None:
    file = png(8000, 8000, colour=0)
    clear = file[:33] + png_chunk(b"tRNS", b"\0\1") + file[33:]
    assert estimate(file).seconds + 0.3 < estimate(clear).seconds < MOST


def test_pngs_of_very_many_empty_chunks_are_as_cheap_as_one() -> None:
    file = encoded(quarters(90, 70), "PNG")
    many = file[:33] + png_chunk(b"IDAT", b"") * 40_000 + file[33:]
    with Image.open(io.BytesIO(file)) as picture:
        assert picture.size == (90, 70)
    assert not is_refused(many)


@pytest.mark.parametrize(
    "file", [b"", b"x", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF1234WEBP"]
)
def test_incomplete_files_have_a_prediction(file: bytes) -> None:
    for size in (0, 1, 7, 40):
        assert 0 < estimate(file + bytes(size)).seconds < 1


# Malicious headers


def png_of_pixels(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A grey PNG of these chunks and its pixels; the header must be among the chunks."""
    rows = zlib.compress(bytes((1 + width) * height))
    return png_of_chunks(*chunks, (b"IDAT", rows), (b"IEND", b""))


HEADER = (b"IHDR", struct.pack(">IIBBBBB", 80, 70, 8, 0, 0, 0, 0))
MEGABYTE = zlib.compress(bytes((1 << 20) - 1))


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param((b"iCCP", b"P3\0\0" + MEGABYTE), id="colour profiles"),
        pytest.param((b"zTXt", b"Raw profile type exif\0\0" + MEGABYTE), id="EXIF as packed text"),
        pytest.param((b"tEXt", b"Raw profile type exif\0" + bytes(1000)), id="EXIF as text"),
        pytest.param((b"eXIf", b"II*\0"), id="EXIF"),
        pytest.param((b"tRNS", b"\0\1"), id="transparency"),
    ],
)
def test_of_repeated_png_chunks_only_the_first_is_kept(chunk: tuple[bytes, bytes]) -> None:
    slim = slim_png(png_of_pixels(80, 70, HEADER, *[chunk] * 50))
    assert png_chunks(slim) == [b"IHDR", chunk[0], b"IDAT", b"IEND"]


def test_a_second_profile_does_not_replace_one_that_is_too_large() -> None:
    """Otherwise each would be decompressed to find its size."""
    large = (b"iCCP", b"P3\0\0" + zlib.compress(bytes(1 << 21)))
    slim = slim_png(png_of_pixels(80, 70, HEADER, large, (b"iCCP", b"P3\0\0" + MEGABYTE)))
    assert png_chunks(slim) == [b"IHDR", b"IDAT", b"IEND"]


def test_a_second_header_does_not_make_a_png_larger() -> None:
    second = (b"IHDR", struct.pack(">IIBBBBB", 8000, 7000, 16, 6, 0, 0, 0))
    with Image.open(io.BytesIO(slim_png(png_of_pixels(80, 70, HEADER, second)))) as picture:
        assert picture.size == (80, 70)


@pytest.mark.parametrize("name", [b"tEXt", b"ihdr", b"CgBI"])
def test_a_png_that_begins_with_another_chunk_is_not_decoded(name: bytes) -> None:
    file = png_of_pixels(80, 70, (name, HEADER[1]), HEADER)
    assert estimate(file).is_broken
    assert reason(file) == UNREADABLE
    with pytest.raises(ValueError, match="another chunk"):
        slim_png(file)


def tiff_tags(width: int, height: int, **others: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """The tags of a grey TIFF with one strip."""
    tags = {
        "width": (256, 4, 1, width),
        "length": (257, 4, 1, height),
        "bits": (258, 3, 1, 8),
        "compression": (259, 3, 1, 1),
        "photometric": (262, 3, 1, 1),
        "strip_offsets": (273, 4, 1, 8),
        "samples": (277, 3, 1, 1),
        "rows_per_strip": (278, 4, 1, height),
        "strip_sizes": (279, 4, 1, width * height),
    }
    return [*(tags | others).values()]


def tiled_tiff(width: int, height: int, across: int, down: int, *more: tuple[int, int, int, int]) -> bytes:
    """A grey TIFF whose tiles are all the same bytes."""
    tile = zlib.compress(bytes(across * down))
    number = -(-width // across) * -(-height // down)
    tags = [
        *(tag for tag in tiff_tags(width, height, compression=(259, 3, 1, 8)) if tag[0] not in (273, 278, 279)),
        (322, 4, 1, across),
        (323, 4, 1, down),
        *more,
    ]
    values = 8 + 2 + 12 * (len(tags) + 2) + 4
    if number == 1:
        tags += [(324, 4, 1, values), (325, 4, 1, len(tile))]
        return tiff_of_tags(*tags) + tile
    tags += [(324, 4, number, values), (325, 4, number, values + 4 * number)]
    offsets = struct.pack(f"<{number}I", *[values + 8 * number] * number)
    return tiff_of_tags(*tags) + offsets + struct.pack(f"<{number}I", *[len(tile)] * number) + tile


def test_a_tiff_costs_what_its_tiles_do() -> None:
    usual, wide = tiled_tiff(8, 800, 16, 16), tiled_tiff(8, 800, 65536, 16)
    assert estimate(usual).seconds < 0.1 < 0.4 < estimate(wide).seconds
    differences = (317, 3, 1, 2), (339, 3, 1, 1)
    few, many = (
        tiled_tiff(8, 800, across, 16, *differences).replace(
            struct.pack("<HHII", 277, 3, 1, 1), struct.pack("<HHII", 277, 3, 1, 3)
        )
        for across in (16, 65536)
    )
    assert estimate(few).seconds < 0.1
    assert is_refused(many)


def test_a_photo_with_a_predictor_costs_less_than_a_raster() -> None:
    file = encoded(Image.new("RGB", (3000, 2000)), "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    assert estimate(file).size == (3000, 2000)
    assert estimate(file).seconds < 0.2
    measured = file.replace(struct.pack("<HHIH", 262, 3, 1, 2), struct.pack("<HHIH", 262, 3, 1, 1))
    assert measured != file
    assert estimate(measured).seconds > 0.5


def test_a_tiff_with_a_tile_above_the_pixel_limit_is_refused() -> None:
    assert reason(tiled_tiff(1, 1, 12000, 9600)) == (
        "The tiles of this TIFF are too large: save it with tiles of 256 × 256 pixels, and send that."
    )


def test_edge_tiles_do_not_count_against_the_pixel_limit() -> None:
    file = tiled_tiff(8000, 8000, 4096, 512)
    with pytest.raises(TakesLonger):
        fit(as_base64(file), max_size=800, max_pixels=MAX_PIXELS, most_seconds=0.01)


def test_a_small_picture_in_one_large_tile_keeps_its_size() -> None:
    arrives = fit(as_base64(tiled_tiff(9, 7, 512, 512)), max_size=800, max_pixels=MAX_PIXELS)
    assert opened(arrives).size == (9, 7)


@pytest.mark.parametrize("type_", [4, 9])
def test_a_tiffs_strips_are_counted_for_any_type_of_their_offsets(type_: int) -> None:
    number = 500_000
    file = tiff_of_tags(*tiff_tags(8, number, rows_per_strip=(278, 4, 1, 1), strip_offsets=(273, type_, number, 200)))
    assert is_refused(file.ljust(200, b"\0") + struct.pack("<I", 8) * number)


@pytest.mark.parametrize("tag", [274, 338, 700, 34675])
@pytest.mark.parametrize("again", [(), ((60000, 99, 1, 0),)])
def test_a_tiff_with_very_many_fractions_is_refused(tag: int, again: tuple[tuple[int, int, int, int], ...]) -> None:
    """Pillow makes an object of each fraction."""
    file = tiff_of_tags(*tiff_tags(9, 7, resolution=(282, 5, 1, 8)), *again)
    assert estimate(file.ljust(9_000_000, b"\0")).seconds < 0.2
    assert is_refused(tiff_of_tags(*tiff_tags(9, 7, many=(tag, 5, 1_000_000, 8)), *again).ljust(9_000_000, b"\0"))


def test_the_bytes_of_an_untyped_tag_are_counted() -> None:
    file = tiff_of_tags(*tiff_tags(8, 8, strip_offsets=(273, 7, 500_000, 200)))
    assert is_refused(file.ljust(500_200, b"\0"))


def test_overlapping_strips_are_each_counted() -> None:
    """Pillow decompresses the whole picture for each."""
    one, many = (
        tiff_of_tags(*tiff_tags(2000, 2000, rows_per_strip=(278, 4, 1, 2001), strip_offsets=(273, 4, number, 200)))
        for number in (1, 500)
    )
    assert estimate(one.ljust(4_000_200, b"\0")).seconds < 0.2
    assert is_refused(many.ljust(4_000_200, b"\0"))


def test_bytes_shared_by_many_strips_are_counted_for_each() -> None:
    """A megabyte of empty blocks after a strip's only row decompresses to nothing, but takes its time for each."""
    tags = tiff_tags(
        100, 500, rows_per_strip=(278, 4, 1, 1), strip_offsets=(273, 4, 500, 200), strip_sizes=(279, 4, 500, 2200)
    )
    file = tiff_of_tags(*tags).ljust(2200, b"\0") + struct.pack("<500I", *[1_000_000] * 500)
    assert is_refused(file.ljust(1_004_200, b"\0"))


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
    assert not estimate(tiff_of_tags(*tiff_tags(9, 7)) + bytes(99)).is_broken
    assert reason(tiff_of_tags(*tiff_tags(9, 7, **others)) + bytes(99)).startswith("This TIFF is damaged")


@pytest.mark.parametrize("magic", [b"II\0*", b"MM*\0"])
def test_a_tiff_with_a_byte_swapped_version_has_a_prediction(magic: bytes) -> None:
    """Pillow reads such files."""
    file = Raster("B", order="<" if magic[:1] == b"I" else ">").file(70, 50, lambda band, x, y: x)
    assert estimate(magic + file[4:]).size == (70, 50)


@pytest.mark.parametrize("bits", [1, 4, 8, 16, 24])
def test_a_compressed_bmp_costs_a_step_for_each_run(bits: int) -> None:
    head = struct.pack("<IIIIiiHHIIIIII", 0, 0, 54, 40, 8000, 7000, 1, bits, 1, 0, 0, 0, 0, 0)
    assert is_refused(b"BM" + head + b"\1\1" * 2_000_000)


def test_a_gif_costs_what_its_first_frame_does() -> None:
    file = encoded(Image.new("P", (4000, 3000)), "GIF")
    on_a_small_screen = file[:6] + struct.pack("<HH", 1, 1) + file[10:]
    assert estimate(on_a_small_screen).size == (4000, 3000)
    assert estimate(on_a_small_screen).seconds == estimate(file).seconds
    # Blocks whose length equals the byte that begins a frame or an extension are still blocks
    comment = b"!\xfe" + b"\x2c" * 45 + b"\x21" * 34 + b"\0"
    at = on_a_small_screen.index(b",\0\0\0\0")
    assert estimate(on_a_small_screen[:at] + comment + on_a_small_screen[at:]).size == (4000, 3000)
    # Pillow skips bytes that begin nothing
    assert estimate(on_a_small_screen[:at] + b"\7" + on_a_small_screen[at:]).size == (4000, 3000)


def test_the_size_of_an_avif_is_found_after_its_pixels() -> None:
    film = b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(2 << 20)
    assert estimate(film + b"\0\0\0\x14ispe\0\0\0\0" + struct.pack(">II", 4000, 3000)).size == (4000, 3000)


def test_a_picture_larger_than_its_header_says_is_not_decoded() -> None:
    """Pillow reads the size from the file's header box, its library from the codestream."""
    file = bytearray(encoded(quarters(90, 70), "JPEG2000"))
    at = file.index(b"\xff\x4f\xff\x51")
    struct.pack_into(">II", file, at + 8, 60, 70)
    assert reason(bytes(file)) == DAMAGED
