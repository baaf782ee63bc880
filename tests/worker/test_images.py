"""How pictures are processed, and with which words other files are refused."""

import base64
import random
import re
import struct
import warnings
import zlib
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, JpegImagePlugin
from PIL.PngImagePlugin import PngInfo

from gischat.errors import Uncompliant
from tests.support.pictures import BLUE, GREEN, RED, WHITE, as_base64, encoded, opened, quarters
from tests.worker.pictures import (
    DAMAGED,
    MAX_PIXELS,
    TOO_LONG,
    UNREADABLE,
    display_p3,
    drawing,
    fitted,
    grey_tiff,
    ihdr,
    jpeg_segments,
    jpeg_with_segments,
    photo,
    png_chunk,
    png_chunks,
    png_of_chunks,
    png_text,
    reason,
    webp_bomb,
)
from worker import image_formats
from worker.images import fit

ORIENTATION = 0x0112
WORD = "48.8584N-2.2945E"

NOT_BASE64 = "The image is not valid base64."
EMPTY = "The image is empty."
UNSUPPORTED = "This image format is not supported: send PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000."
EXPORT_IT = "export the layer as a rendered image"


def is_near(colour: Any, other: Any, within: int = 12) -> bool:
    return all(abs(one - two) <= within for one, two in zip(colour, other, strict=True))


def most_different(one: Image.Image, other: Image.Image, cells: int = 4) -> int:
    """How much the means of their parts differ at most."""
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return max(difference.resize((cells, cells), Image.Resampling.BOX).convert("L").tobytes())


# Size


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ((200, 100), (100, 50)),
        ((101, 101), (100, 100)),
        ((125, 375), (33, 100)),
        ((501, 3), (100, 1)),
        ((1, 5000), (1, 100)),
        *((size, size) for size in ((1, 1), (20, 10), (100, 100), (1, 100))),
    ],
)
def test_a_picture_is_scaled_to_fit_and_never_enlarged(sent: tuple[int, int], arrives: tuple[int, int]) -> None:
    for format_ in ("PNG", "JPEG"):
        assert fitted(encoded(Image.new("RGB", sent, RED), format_), max_size=100).size == arrives


def test_an_edge_in_a_jpeg_decoded_at_reduced_scale_does_not_move() -> None:
    scene = Image.new("L", (809, 800), 255)  # an eighth of it is not a whole number of pixels
    scene.paste(0, (0, 0, 760, 800))
    edge = fitted(encoded(scene, "JPEG"), max_size=100).crop((80, 50, 100, 51))
    assert sum(value < 128 for value in edge.tobytes()) == round(760 / 8.09) - 80


# Formats and colour modes


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {"quality": 90}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "jpeg"}),
        ("AVIF", {"quality": 90}),
        ("JPEG2000", {}),
        ("JPEG2000", {"no_jp2": True, "tile_size": (64, 64), "num_resolutions": 1}),
    ],
)
def test_each_listed_format_is_read(format_: str, options: dict[str, Any]) -> None:
    sent = quarters(250, 250)
    for max_size in (200, 50):  # JPEG and JPEG 2000 are decoded at their full size, and at a reduced one
        arrives = fitted(encoded(sent, format_, **options), max_size=max_size)
        assert arrives.size == (max_size, max_size)
        assert most_different(arrives, sent.resize(arrives.size, Image.Resampling.LANCZOS)) < 12


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF"])
def test_the_first_of_several_frames_is_used(format_: str) -> None:
    frames = [Image.new("RGB", (30, 20), colour) for colour in (RED, GREEN, BLUE)]
    arrives = fitted(encoded(frames[0], format_, save_all=True, append_images=frames[1:]))
    assert is_near(arrives.convert("RGB").getpixel((15, 10)), RED)


@pytest.mark.parametrize(
    ("mode", "colour", "format_", "shown"),
    [
        ("1", 1, "PNG", (255, 255, 255)),
        ("1", 0, "TIFF", (0, 0, 0)),
        ("L", 90, "JPEG", (90, 90, 90)),
        ("LA", (90, 255), "PNG", (90, 90, 90)),
        ("I;16", 0x8000, "PNG", (128, 128, 128)),
        ("RGBX", (*RED, 0), "TIFF", RED),
        ("CMYK", (0, 255, 255, 0), "JPEG", (255, 0, 0)),  # Adobe's way: stored inverted
        ("CMYK", (255, 255, 0, 0), "TIFF", (0, 0, 255)),
        ("YCbCr", (76, 85, 255), "TIFF", (254, 0, 0)),
        ("LAB", (136, 208, 195), "TIFF", (255, 0, 0)),
    ],
)
def test_each_colour_mode_shows_its_colour(mode: str, colour: Any, format_: str, shown: tuple[int, int, int]) -> None:
    arrives = fitted(encoded(Image.new(mode, (120, 110), colour), format_), max_size=100)
    assert arrives.mode in {"1", "L", "P", "RGB"}
    assert is_near(arrives.convert("RGB").getpixel((10, 10)), shown)


# Transparency


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_each_mode_with_transparency_shows_it(mode: str) -> None:
    half = Image.new("RGBA", (40, 30), (*WHITE, 255))
    half.paste((0, 0, 0, 0), (0, 0, 20, 30))
    arrives = fitted(encoded(half.convert(mode), "TIFF"))
    assert arrives.format == "PNG"
    assert arrives.getpixel((10, 10))[3] == 0
    assert is_near(arrives.getpixel((30, 10)), (*WHITE, 255))


def test_the_edge_of_a_transparent_picture_gets_no_dark_fringe() -> None:
    shape = Image.new("RGBA", (203, 203), (0, 0, 0, 0))
    shape.paste((255, 255, 255, 255), (50, 50, 153, 153))
    arrives = fitted(encoded(shape, "PNG"), max_size=100)
    pixels = [arrives.getpixel((x, 50)) for x in range(100)]
    assert any(0 < alpha < 255 for *_, alpha in pixels)
    assert all(is_near(colour, (255, 255, 255), within=2) for *colour, alpha in pixels if alpha > 8)


@pytest.mark.parametrize(("transparency", "alphas"), [(0, [0, 255, 255]), (bytes([0, 128, 255]), [0, 128, 255])])
def test_a_palette_with_transparency_keeps_it(transparency: Any, alphas: list[int]) -> None:
    flag = Image.new("P", (300, 200))
    flag.putpalette([*RED, *GREEN, *BLUE])
    for index in (1, 2):
        flag.paste(index, (100 * index, 0, 300, 200))
    arrives = fitted(encoded(flag, "PNG", transparency=transparency), max_size=200)
    assert [arrives.getpixel((arrives.width * part // 6, 10))[3] for part in (1, 3, 5)] == alphas


def test_a_transparent_colour_is_transparent() -> None:
    sketch = drawing(300, 225)
    arrives = fitted(encoded(sketch, "PNG", transparency=sketch.getpixel((297, 220))), max_size=200)
    assert arrives.getpixel((198, 147))[3] == 0


def test_an_opaque_alpha_channel_is_dropped() -> None:
    arrives = fitted(encoded(photo(250, 170).convert("RGBA"), "PNG"), max_size=200)
    assert (arrives.format, arrives.mode) == ("JPEG", "RGB")


# Orientation


# Which side of the scene is in the file's first row and first column (EXIF 2.32 §4.6.4, tag 274).
@pytest.mark.parametrize(
    ("orientation", "first_row", "first_column", "format_"),
    [
        (1, "top", "left", "JPEG"),
        (2, "top", "right", "JPEG"),
        (3, "bottom", "right", "JPEG"),
        (4, "bottom", "left", "JPEG"),
        (5, "left", "top", "JPEG"),
        (6, "right", "top", "JPEG"),
        (7, "right", "bottom", "JPEG"),
        (8, "left", "bottom", "JPEG"),
        (6, "right", "top", "PNG"),
        (8, "left", "bottom", "WEBP"),
        (3, "bottom", "right", "TIFF"),
        (5, "left", "top", "AVIF"),
    ],
)
def test_a_picture_is_turned_upright(orientation: int, first_row: str, first_column: str, format_: str) -> None:
    stored = Image.new("RGB", (320, 240), WHITE)
    stored.paste(RED, (0, 0, 320, 48))
    stored.paste(BLUE, (0, 48, 64, 240))
    arrives = fitted(encoded(stored, format_, exif=exif_of(orientation)), max_size=200).convert("RGB")
    assert (arrives.width < arrives.height) == (orientation >= 5)
    assert is_near(arrives.getpixel(middle_of(first_row, arrives)), RED, within=30)
    assert is_near(arrives.getpixel(middle_of(first_column, arrives)), BLUE, within=30)


def exif_of(orientation: int, word: str = "") -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if word:
        exif[0x010E] = word
        exif.get_ifd(0x8825).update({1: "N", 0x1D: word})
    return exif


def middle_of(side: str, picture: Image.Image) -> tuple[int, int]:
    width, height = picture.size
    return {
        "top": (width // 2, 5),
        "bottom": (width // 2, height - 6),
        "left": (5, height // 2),
        "right": (width - 6, height // 2),
    }[side]


def test_broken_exif_and_unknown_orientations_are_ignored() -> None:
    picture = Image.new("RGB", (9, 7), RED)
    broken = [b"", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x09"]
    for exif in [*(b"Exif\0\0" + one for one in broken), *(exif_of(one) for one in (0, 9, 65535))]:
        assert fitted(encoded(picture, "JPEG", exif=exif)).size == (9, 7)
    text = PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 4\nno hexadecimal digits")
    assert fitted(encoded(picture, "PNG", pnginfo=text)).size == (9, 7)


# Metadata


def laden(format_: str, picture: Image.Image) -> bytes:
    """The picture in a file with WORD in each kind of metadata of its format."""
    exif = exif_of(1, WORD)
    profile = display_p3().replace(b"sRGB", WORD.encode()[:4])
    match format_:
        case "JPEG":
            return jpeg_with_segments(picture, WORD, exif=exif, icc_profile=profile)
        case "PNG":
            return encoded(picture, "PNG", pnginfo=png_text(WORD), exif=exif, icc_profile=profile, dpi=(99, 99))
        case "WEBP":
            return encoded(picture, "WEBP", exif=exif, xmp=WORD.encode(), icc_profile=profile)
        case "GIF":
            return encoded(picture, "GIF", comment=WORD)
        case _:
            return encoded(picture, "TIFF", tiffinfo={270: WORD, 315: WORD, 700: WORD.encode()}, exif=exif)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_only_pixels_are_published(format_: str) -> None:
    for scene in (photo(90, 70), drawing(90, 70)):  # a JPEG, and a PNG of all formats but JPEG and WebP
        sent = laden(format_, scene)
        assert WORD.encode() in sent
        arrives = base64.b64decode(fit(as_base64(sent), max_size=80, max_pixels=MAX_PIXELS))
        assert WORD.encode() not in arrives
        if arrives.startswith(b"\x89PNG"):
            assert set(png_chunks(arrives)) <= {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
        else:
            app0, dqt, sof2, dht, sos = 0xE0, 0xDB, 0xC2, 0xC4, 0xDA
            assert set(jpeg_segments(arrives)) <= {app0, dqt, sof2, dht, sos}


# Colours


def p3_to_srgb(colour: tuple[int, int, int]) -> tuple[int, ...]:
    """Convert by the matrix of the two standards; both have the transfer function of IEC 61966-2-1."""
    matrix = ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979))
    light = [((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
    mixed = [sum(factor * part for factor, part in zip(row, light, strict=True)) for row in matrix]
    return tuple(round(255 * (1.055 * v ** (1 / 2.4) - 0.055)) for v in mixed)


@pytest.mark.parametrize(
    ("colour", "format_", "options"),
    [
        ((200, 100, 90), "PNG", {}),
        ((90, 180, 110), "JPEG", {"quality": 95}),
        ((128, 128, 128), "WEBP", {"lossless": True}),
    ],
)
def test_a_phones_wide_colours_become_srgb(colour: tuple[int, int, int], format_: str, options: dict[str, Any]) -> None:
    sent = encoded(Image.new("RGB", (100, 50), colour), format_, icc_profile=display_p3(), **options)
    assert is_near(fitted(sent).convert("RGB").getpixel((40, 20)), p3_to_srgb(colour), within=4)
    transparent = encoded(Image.new("RGBA", (30, 20), (*colour, 77)), "PNG", icc_profile=display_p3())
    assert is_near(fitted(transparent).getpixel((5, 5)), (*p3_to_srgb(colour), 77), within=3)


@pytest.mark.parametrize(("mode", "format_"), [("L", "PNG"), ("RGB", "TIFF"), ("RGBA", "PNG")])
def test_an_invalid_or_unfit_profile_is_ignored(mode: str, format_: str) -> None:
    sent = Image.new("RGBA", (30, 20), (80, 80, 80, 60)).convert(mode)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    profiles = [b"rubbish", b"", display_p3()[:200], lab, *([display_p3()] if mode == "L" else [])]
    for profile in profiles:
        arrives = fitted(encoded(sent, format_, icc_profile=profile))
        assert arrives.convert("RGBA").tobytes() == sent.convert("RGBA").tobytes()


# Format and size of the result


def test_a_photo_becomes_a_jpeg_and_a_sketch_a_png_with_exactly_its_colours() -> None:
    for format_ in ("PNG", "WEBP", "BMP", "TIFF"):
        assert fitted(encoded(photo(300, 200), format_)).format == "JPEG"
    sketch = drawing(350, 250)
    for format_ in ("PNG", "GIF", "BMP", "TIFF"):
        arrives = fitted(encoded(sketch, format_))
        assert (arrives.format, arrives.convert("RGB").tobytes()) == ("PNG", sketch.tobytes())
    assert fitted(encoded(sketch, "PNG"), max_size=300).format == "PNG"
    # What was a JPEG stays one
    assert {fitted(encoded(scene, "JPEG")).format for scene in (photo(300, 200), sketch)} == {"JPEG"}
    grey = fitted(encoded(photo(300, 200).convert("L"), "PNG"))
    assert (grey.format, grey.mode) == ("JPEG", "L")


def test_a_photo_of_noise_becomes_a_small_jpeg() -> None:
    noise = Image.frombytes("RGB", (800, 800), random.Random(1).randbytes(800 * 800 * 3))
    arrives = fit(as_base64(encoded(noise, "JPEG", quality=95)), max_size=800, max_pixels=MAX_PIXELS)
    assert len(base64.b64decode(arrives)) <= 250_000


def test_a_picture_with_256_colours_and_a_scan_in_black_and_white_keep_them_exactly() -> None:
    chance = random.Random(2)
    patches = Image.new("RGB", (256, 64))
    for x in range(256):
        patches.paste(tuple(chance.randbytes(3)), (x, 0, x + 1, 64))
    arrives = fitted(encoded(patches, "PNG"))
    assert (arrives.format, arrives.mode) == ("PNG", "P")
    assert arrives.convert("RGB").tobytes() == patches.tobytes()
    scan = drawing(350, 250).convert("1")
    arrives = fitted(encoded(scan, "TIFF", compression="group4"))
    assert (arrives.format, arrives.convert("1").tobytes()) == ("PNG", scan.tobytes())


# Refusals


SMALL = encoded(Image.new("RGB", (9, 7), RED), "PNG")
SMALL_TEXT = as_base64(SMALL)


def test_base64_with_line_breaks_is_accepted_and_all_else_refused() -> None:
    for line_break in ("\n", "\r\n"):
        lines = [SMALL_TEXT[at : at + 76] for at in range(0, len(SMALL_TEXT), 76)]
        arrives = fit(line_break.join(lines) + line_break, max_size=800, max_pixels=MAX_PIXELS)
        assert opened(arrives).size == (9, 7)
    url_safe = SMALL_TEXT.replace("+", "-").replace("/", "_") + "-_"
    wrong = ["data:image/png;base64," + SMALL_TEXT, SMALL_TEXT + "!", SMALL_TEXT + "====", SMALL_TEXT[:-2], url_safe]
    wrong += [f"{SMALL_TEXT[:20]}{blank}{SMALL_TEXT[20:]}" for blank in " \t"]
    wrong += ["é" + SMALL_TEXT, "\ud800" + SMALL_TEXT, "=", "<svg/>"]
    for text, words in [*((text, NOT_BASE64) for text in wrong), ("", EMPTY), ("\r\n", EMPTY)]:
        with pytest.raises(Uncompliant, match=f"^{words}$"):
            fit(text, max_size=800, max_pixels=MAX_PIXELS)


def test_an_unlisted_format_is_refused() -> None:
    unlisted = [encoded(Image.new("RGB", (16, 16), RED), format_) for format_ in ("PPM", "ICO", "TGA")]
    for file in [b"x", b"Hello, this is no picture.", b"\x89PNG", b"RIFF\x24\0\0\0WAVEfmt ", *unlisted]:
        assert reason(file) == UNSUPPORTED


@pytest.mark.parametrize(
    ("file", "named"),
    [
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw file"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "a video"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\1", "a video"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"IIU\0\x18\0\0\0", "a camera's raw file"),
    ],
)
def test_refusals_name_known_formats(file: bytes, named: str) -> None:
    assert named in reason(file + bytes(40))


def test_a_raw_photo_is_refused_instead_of_showing_its_preview() -> None:
    preview = encoded(Image.new("RGB", (160, 120), RED), "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    assert "a camera's raw file" in reason(preview)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"hevc"])
def test_without_pillow_heif_a_refusal_tells_how_to_set_a_phone(brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_formats, "has_heif", lambda: False)
    refused = reason(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(40))
    assert "HEIC" in refused
    assert "Settings > Camera > Formats > Most Compatible" in refused


@pytest.mark.skipif(not image_formats.has_heif(), reason="HEIC is read where pillow-heif is installed")
@pytest.mark.parametrize(("orientation", "first_row", "size"), [(1, "top", (200, 150)), (6, "right", (150, 200))])
def test_an_iphones_photo_is_rotated_once_and_bare(orientation: int, first_row: str, size: tuple[int, int]) -> None:
    """A HEIC file is rotated by a property of the file, with EXIF that says the same."""
    stored = Image.new("RGB", (250, 188), WHITE)
    stored.paste(RED, (0, 0, 250, 48))  # the first row
    sent = encoded(stored, "HEIF", exif=exif_of(orientation, WORD).tobytes())
    assert WORD.encode() in sent

    text = fit(as_base64(sent), max_size=200, max_pixels=MAX_PIXELS)

    arrives = opened(text).convert("RGB")
    assert arrives.size == size
    assert is_near(arrives.getpixel(middle_of(first_row, arrives)), RED, within=30)
    assert WORD.encode() not in base64.b64decode(text)
    # And it is refused by its size, before it is decoded, and if it is cut
    stated = (struct.pack(">II", 250, 188), struct.pack(">II", 12000, 9000))
    assert reason(sent.replace(*(b"ispe\0\0\0\0" + one for one in stated))).startswith("The image is too large: 12000")
    assert reason(sent[: len(sent) // 2]) in {DAMAGED, UNREADABLE}


# Too many pixels


@pytest.mark.parametrize(
    "file",
    [
        png_of_chunks(ihdr(12000, 9000), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")),
        b"GIF89a" + struct.pack("<HH", 12000, 9000) + b"\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 58, 0, 54, 40, 12000, 9000, 1, 24, *[0] * 6),
        b"BM" + struct.pack("<IIIIHHHH", 58, 0, 26, 12, 12000, 9000, 1, 24),
        b"\xff\xd8\xff\xc0\0\x0b\x08" + struct.pack(">HH", 9000, 12000) + b"\1\1\x11\0\xff\xda\0\x08\1\1\0\0?\0",
        webp_bomb(12000, 9000),
        b"RIFF\x1e\0\0\0WEBPVP8 \x12\0\0\0\0\0\0\x9d\1*" + struct.pack("<HH8x", 12000, 9000),
        b"RIFF\x1e\0\0\0WEBPVP8L\x12\0\0\0/" + struct.pack("<I13x", 11999 | 8999 << 14),
        grey_tiff(12000, 9000),
        b"\xff\x4f\xff\x51\0\x29\0\0" + struct.pack(">8I", 12000, 9000, 0, 0, 512, 512, 0, 0),
        b"\0\0\0\x18ftypavif\0\0\0\0mif1avif\0\0\0\x14ispe\0\0\0\0" + struct.pack(">II", 12000, 9000),
    ],
    ids=["PNG", "GIF", "BMP", "BMP of OS/2", "JPEG", "WebP", "VP8", "VP8L", "TIFF", "JPEG 2000", "AVIF"],
)
def test_too_many_pixels_are_refused_by_the_header(file: bytes) -> None:
    assert reason(file) == "The image is too large: 12000 × 9000 pixels, at most 64000000 are allowed."


def test_the_caller_sets_the_pixel_limit() -> None:
    file = encoded(Image.new("RGB", (20, 10), RED), "PNG")
    assert fitted(file, max_pixels=200).size == (20, 10)
    assert reason(file, max_pixels=199) == "The image is too large: 20 × 10 pixels, at most 199 are allowed."
    assert Image.MAX_IMAGE_PIXELS is None  # Pillow's own limit, which would be lower than ours may be


# Truncated files


@cache
def files() -> dict[str, bytes]:
    scene, sketch = photo(90, 70), drawing(90, 70)
    return {
        "PNG": laden("PNG", sketch),
        "PNG with palette": encoded(sketch.quantize(8), "PNG", transparency=1),
        "PNG in motion": encoded(sketch, "PNG", save_all=True, append_images=[Image.new("RGB", (90, 70))]),
        "JPEG": laden("JPEG", scene),
        "JPEG, CMYK": encoded(scene.convert("CMYK"), "JPEG"),
        "MPO": encoded(scene, "MPO", save_all=True, append_images=[scene]),
        "WEBP": laden("WEBP", scene),
        "WEBP, lossless": encoded(sketch, "WEBP", lossless=True),
        "GIF": laden("GIF", sketch),
        "BMP": encoded(scene, "BMP"),
        "TIFF": laden("TIFF", scene),
        "TIFF, LZW": encoded(sketch, "TIFF", compression="tiff_lzw"),
        "TIFF, JPEG": encoded(scene, "TIFF", compression="jpeg"),
        "TIFF, elevations": encoded(scene.convert("F"), "TIFF"),
        "TIFF, elevations, packed": encoded(scene.convert("I;16"), "TIFF", compression="tiff_lzw"),
        "TIFF, Group 4": encoded(sketch.convert("1"), "TIFF", compression="group4"),
        "AVIF": encoded(scene, "AVIF"),
        "JPEG 2000": encoded(scene, "JPEG2000"),
        "JPEG 2000, tiles": encoded(scene, "JPEG2000", no_jp2=True, tile_size=(32, 32)),
    }


def test_a_truncated_file_is_refused() -> None:
    for name, file in files().items():
        whole = file.find(b"\xff\xd9") if name == "MPO" else len(file)  # the second picture is not needed
        is_shown_in_part = name.startswith(("PNG", "JPEG, ", "MPO")) or name == "JPEG"
        for part in (0.3,) if is_shown_in_part else (0.3, 0.6):
            refused = reason(file[: int(whole * part)])
            assert refused in {DAMAGED, UNREADABLE} or refused.startswith("Only ") or EXPORT_IT in refused, name


def cut(file: bytes, share: float) -> bytes:
    """The file, truncated to that share of what follows its headers."""
    start = file.find(b"IDAT" if file.startswith(b"\x89PNG") else b"\xff\xda")  # other letters may occur by chance
    return file[: start + int((len(file) - start) * share)]


# At scale 1, 1/2 and 1/4
@pytest.mark.parametrize(
    ("mode", "options", "size"),
    [
        ("L", {"subsampling": "4:4:4"}, (150, 120)),
        ("RGB", {"subsampling": "4:2:0"}, (825, 650)),
        ("CMYK", {"restart_marker_rows": 1}, (425, 325)),
    ],
)
def test_what_arrived_of_a_truncated_photo_is_shown(mode: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    file = encoded(quarters(*size).convert(mode), "JPEG", quality=90, **options)
    whole, part = (fitted(each, max_size=200) for each in (file, cut(file, 0.75)))
    assert part.size == whole.size
    came = (0, 0, whole.width, whole.height * 6 // 10)
    assert ImageChops.difference(whole.crop(came), part.crop(came)).convert("L").getextrema()[1] < 30
    last = part.convert("RGB").crop((0, whole.height * 9 // 10, whole.width, whole.height))
    assert len(last.getcolors(99) or ()) < 9  # one grey, except for JPEG's artefacts


@pytest.mark.parametrize("progressive", [False, True])
def test_a_photo_is_shown_if_it_lacks_its_end_and_refused_with_the_share_that_arrived(progressive: bool) -> None:
    file = encoded(photo(450, 350), "JPEG", progressive=progressive, quality=90)
    assert fitted(file.removesuffix(b"\xff\xd9")).tobytes() == fitted(file).tobytes()
    if progressive:  # the fine scans come last
        assert most_different(fitted(cut(file, 0.5)), fitted(file)) < 8
    for share in (0.02, 0.3):
        # The first scan of a progressive photo is a twentieth of it, and shows everything
        refused = reason(cut(file, share / 20 if progressive else share))
        found = re.fullmatch(r"Only (\d+) % of this photo arrived: please send it again\.", refused)
        assert found
        assert progressive or abs(int(found[1]) - 100 * share) < 12


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_what_arrived_of_a_truncated_screenshot_is_shown(mode: str) -> None:
    scene = photo(300, 250).convert(mode)
    arrives = fitted(cut(encoded(scene, "PNG", compress_level=1), 0.8))
    came = (0, 0, 300, 190)
    assert most_different(arrives.crop(came), scene.crop(came)) < 8
    assert len(arrives.convert("RGB").crop((0, 240, 300, 250)).getcolors(999) or ()) < 9


def test_a_screenshot_with_little_data_or_interlaced_is_refused() -> None:
    assert re.fullmatch(r"Only 2[0-9] % of this photo.*", reason(cut(encoded(photo(300, 250), "PNG"), 0.25)))
    assert reason(png_of_chunks(ihdr(90, 70))).startswith("Only 0 %")
    pixels = zlib.compress(random.Random(1).randbytes(90))
    assert reason(png_of_chunks(ihdr(8, 8, colour=0, interlaced=1), (b"IDAT", pixels[:80]))) == DAMAGED


# Damaged files

END = (b"IEND", b"")


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(png_of_chunks(ihdr(0, 9), (b"IDAT", zlib.compress(b"\0")), END), id="no width"),
        pytest.param(png_of_chunks(ihdr(8000, 8000), (b"IDAT", zlib.compress(b"\0" * 99)), END), id="lying PNG"),
        pytest.param(png_of_chunks(ihdr(9, 9, colour=3), (b"IDAT", zlib.compress(bytes(90))), END), id="no palette"),
        pytest.param(SMALL[:33] + b"\0\0\0\4IDATtext" + SMALL[33:], id="a chunk with a wrong checksum"),
        pytest.param(SMALL[:33] + png_chunk(b"tEXt", b"") * 60_000 + SMALL[33:], id="very many chunks"),
        pytest.param(b"GIF89a", id="a signature alone"),
        pytest.param(b"\xff\xd8\xff\xe0" + b"\xff" * 99, id="padding after a signature"),
        pytest.param(b"MM\0*\0\0\0\x08\xff\xff" + bytes(12), id="more tags than bytes"),
        pytest.param(grey_tiff(900, 900, samples=(277, 4, 1, 60000)), id="60000 samples a pixel"),
        pytest.param(grey_tiff(900, 900, bits=(258, 4, 1, 4_000_000_000)), id="4 thousand million bits a sample"),
        pytest.param(grey_tiff(900, 900, compression=(259, 4, 1, 34712)), id="no such compression"),
        pytest.param(grey_tiff(900, 900, rows_per_strip=(278, 4, 1, 0)), id="no rows in a strip"),
        pytest.param(grey_tiff(900, 900, compression=(259, 4, 1, 5)), id="LZW of nothing"),
    ],
)
def test_a_damaged_file_is_refused(file: bytes) -> None:
    refused = reason(file)
    assert (
        refused in {DAMAGED, UNREADABLE, TOO_LONG}
        or refused.startswith("Only 0 %")
        or (EXPORT_IT in refused and file[:2] in (b"II", b"MM"))
    )


BOMB = zlib.compress(bytes(4 << 20), 1)  # four times as much as is unpacked


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([(b"zTXt", b"Comment\0\0" + BOMB)], id="zTXt"),
        pytest.param([(b"zTXt", b"Raw profile type exif\0\0" + BOMB)], id="EXIF as text"),
        pytest.param([(b"iTXt", b"Comment\0\1\0\0\0" + BOMB)], id="iTXt"),
        pytest.param([(b"iCCP", b"P3\0\0" + BOMB)], id="colour profile"),
        pytest.param([(b"iCCP", b"P3\0\1" + BOMB)], id="colour profile, packed in an unknown way"),
        pytest.param([(b"tEXt", b"Comment\0" + b"x" * 2_000_000)], id="tEXt"),
        pytest.param([(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000)))] * 90, id="90 MB in pieces"),
        pytest.param([(b"pHYs", b"")], id="a chunk that is too short"),
    ],
)
def test_faults_in_data_that_is_dropped_anyway_are_ignored(chunks: list[tuple[bytes, bytes]]) -> None:
    file = SMALL[:33] + b"".join(png_chunk(*chunk) for chunk in chunks) + SMALL[33:] + b"<?php ?>" * 99
    assert fitted(file).convert("RGB").tobytes() == Image.new("RGB", (9, 7), RED).tobytes()


def test_excessive_exif_is_not_read() -> None:
    """Its orientation may be a million fractions."""
    head = b"Exif\0\0II*\0" + struct.pack("<IHHHII", 8, 1, ORIENTATION, 3, 1, 6) + bytes(4)
    picture = Image.new("RGB", (40, 30), RED)
    assert fitted(encoded(picture, "WEBP", exif=head)).size == (30, 40)
    assert fitted(encoded(picture, "WEBP", exif=head.ljust(1 << 19, b"\0"))).size == (40, 30)


def test_no_content_of_a_file_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    logged = grey_tiff(900, 900, samples=(277, 4, 1, 60000))  # by Pillow, which warns of the other two
    broken_exif = encoded(photo(9, 7), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09")
    for file in (logged, files()["TIFF, LZW"][:-20], broken_exif):
        with warnings.catch_warnings(record=True, action="always") as warned, suppress(Uncompliant):
            fit(as_base64(file), max_size=800, max_pixels=MAX_PIXELS)
        assert not warned
        assert not caplog.records


def test_a_lack_of_memory_is_not_reported_as_the_clients_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def want(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load_read", want)
    with pytest.raises(MemoryError):
        fit(as_base64(files()["JPEG"]), max_size=800, max_pixels=MAX_PIXELS)
