"""How pictures are processed, and with which words other files are refused."""

import base64
import io
import random
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, JpegImagePlugin
from PIL.PngImagePlugin import PngInfo

from gischat.errors import Uncompliant
from tests.support.pictures import BLUE, GREEN, RED, WHITE, as_base64, encoded, opened, quarters
from tests.worker.pictures import (
    display_p3,
    drawing,
    jpeg_segments,
    jpeg_with_segments,
    photo,
    png_chunk,
    png_chunks,
    png_of_chunks,
    png_text,
    tiff_of_tags,
    webp_bomb,
)
from worker import image_formats
from worker.images import fit

MAX_PIXELS = 64_000_000
ORIENTATION = 0x0112
WORD = "48.8584N-2.2945E"

NOT_BASE64 = "The image is not valid base64."
EMPTY = "The image is empty."
UNSUPPORTED = "This image format is not supported: send PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000."
UNREADABLE = "The image file is damaged, incomplete or of a kind that cannot be read here."
DAMAGED = "The image file is damaged or incomplete."
EXPORT_IT = "export the layer as a rendered image"
TOO_LONG = "This picture takes too long to open here: save it as an ordinary JPEG, or make it smaller, and send that."


def fitted(file: bytes, max_size: int = 800, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture that is published when a client sends the file."""
    return opened(fit(as_base64(file), max_size=max_size, max_pixels=max_pixels))


def reason(file: bytes, max_pixels: int = MAX_PIXELS) -> str:
    """The reason why the file is refused."""
    with pytest.raises(Uncompliant) as refusal:
        fit(as_base64(file), max_size=800, max_pixels=max_pixels)
    return refusal.value.reason


def is_near(colour: Any, other: Any, within: int = 12) -> bool:
    return all(abs(one - two) <= within for one, two in zip(colour, other, strict=True))


# Size


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ((1600, 800), (800, 400)),
        ((801, 801), (800, 800)),
        ((1000, 3000), (267, 800)),
        ((4001, 3), (800, 1)),
        ((1, 5000), (1, 800)),
    ],
)
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_a_larger_picture_is_scaled_to_fit_with_its_aspect(
    sent: tuple[int, int], arrives: tuple[int, int], format_: str
) -> None:
    assert fitted(encoded(Image.new("RGB", sent, RED), format_)).size == arrives


@pytest.mark.parametrize("size", [(1, 1), (20, 10), (800, 800), (1, 800)])
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_a_picture_that_fits_keeps_its_size(size: tuple[int, int], format_: str) -> None:
    assert fitted(encoded(Image.new("RGB", size, RED), format_)).size == size


def test_a_jpeg_decoded_at_reduced_scale_shows_the_same_picture() -> None:
    scene = quarters(3300, 2500)
    arrives = fitted(encoded(scene, "JPEG", quality=95))
    difference = ImageChops.difference(arrives, scene.resize(arrives.size, Image.Resampling.LANCZOS))
    assert max(difference.resize((8, 8), Image.Resampling.BOX).convert("L").tobytes()) < 4


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
    arrives = fitted(encoded(sent, format_, **options), max_size=200)
    assert arrives.size == (200, 200)
    corners = [arrives.convert("RGB").getpixel(at) for at in ((5, 5), (195, 5), (5, 195), (195, 195))]
    expected = [sent.getpixel(at) for at in ((6, 6), (243, 6), (6, 243), (243, 243))]
    assert all(map(is_near, corners, expected))


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
        ("RGBX", (*RED, 0), "TIFF", RED),
        ("CMYK", (0, 255, 255, 0), "JPEG", (255, 0, 0)),  # Adobe's way: stored inverted
        ("CMYK", (255, 255, 0, 0), "TIFF", (0, 0, 255)),
        ("YCbCr", (76, 85, 255), "TIFF", (254, 0, 0)),
        ("LAB", (136, 208, 195), "TIFF", (255, 0, 0)),
    ],
)
@pytest.mark.parametrize("size", [(40, 30), (120, 110)])
def test_each_colour_mode_shows_its_colour(
    mode: str, colour: Any, format_: str, shown: tuple[int, int, int], size: tuple[int, int]
) -> None:
    arrives = fitted(encoded(Image.new(mode, size, colour), format_), max_size=100)
    assert arrives.mode in {"1", "L", "P", "RGB"}
    assert is_near(arrives.convert("RGB").getpixel((10, 10)), shown)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_each_mode_with_transparency_shows_it(mode: str) -> None:
    half = Image.new("RGBA", (40, 30), (*WHITE, 255))
    half.paste((0, 0, 0, 0), (0, 0, 20, 30))
    arrives = fitted(encoded(half.convert(mode), "TIFF"))
    assert arrives.format == "PNG"
    assert arrives.getpixel((10, 10))[3] == 0
    assert is_near(arrives.getpixel((30, 10)), (*WHITE, 255))


def test_a_16_bit_png_keeps_its_brightness() -> None:
    arrives = fitted(encoded(Image.new("I;16", (30, 20), 0x8000), "PNG"))
    assert abs(arrives.convert("L").getpixel((3, 3)) - 128) <= 1


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_a_raster_of_elevations_is_stretched_over_all_greys(mode: str) -> None:
    slope = Image.linear_gradient("L").resize((250, 250)).convert("F").point(lambda z: z * 4 + 1200)
    arrives = fitted(encoded(slope.convert("I").convert(mode) if mode != "F" else slope, "TIFF"), max_size=200)
    top, middle, bottom = (arrives.convert("L").getpixel((100, y)) for y in (0, 100, 199))
    assert (top, bottom) == (0, 255)
    assert abs(middle - 128) < 8


def test_a_raster_of_one_value_is_published() -> None:
    assert fitted(encoded(Image.new("F", (5, 4), 12.5), "TIFF")).size == (5, 4)


# Transparency


def test_the_edge_of_a_transparent_picture_gets_no_dark_fringe() -> None:
    shape = Image.new("RGBA", (403, 403), (0, 0, 0, 0))
    shape.paste((255, 255, 255, 255), (100, 100, 303, 303))
    arrives = fitted(encoded(shape, "PNG"), max_size=200)
    pixels = [arrives.getpixel((x, 100)) for x in range(200)]
    assert any(0 < alpha < 255 for *_, alpha in pixels)
    assert all(is_near(colour, (255, 255, 255), within=2) for *colour, alpha in pixels if alpha > 8)


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255])])
@pytest.mark.parametrize("size", [(60, 40), (300, 200)])
def test_a_palette_with_transparency_keeps_it(transparency: Any, size: tuple[int, int]) -> None:
    flag = Image.new("P", size)
    flag.putpalette([*RED, *GREEN, *BLUE])
    third = size[0] // 3
    for index in (1, 2):
        flag.paste(index, (third * index, 0, size[0], size[1]))
    arrives = fitted(encoded(flag, "PNG", transparency=transparency), max_size=200)
    alphas = [arrives.getpixel((arrives.width * part // 6, 10))[3] for part in (1, 3, 5)]
    assert alphas == ([0, 255, 255] if transparency == 0 else [0, 128, 255])


def test_a_transparent_colour_is_transparent() -> None:
    sketch = drawing(1200, 900)
    arrives = fitted(encoded(sketch, "PNG", transparency=sketch.getpixel((1190, 880))))
    assert arrives.getpixel((795, 590))[3] == 0


@pytest.mark.parametrize("size", [(150, 100), (250, 170)])
def test_an_opaque_alpha_channel_is_dropped(size: tuple[int, int]) -> None:
    arrives = fitted(encoded(photo(*size).convert("RGBA"), "PNG"), max_size=200)
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
@pytest.mark.parametrize("scale", [1, 2])
def test_a_picture_is_turned_upright(
    orientation: int, first_row: str, first_column: str, format_: str, scale: int
) -> None:
    stored = Image.new("RGB", (160 * scale, 120 * scale), WHITE)
    stored.paste(RED, (0, 0, stored.width, stored.height // 5))
    stored.paste(BLUE, (0, stored.height // 5, stored.width // 5, stored.height))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation

    arrives = fitted(encoded(stored, format_, exif=exif), max_size=200).convert("RGB")

    assert (arrives.width < arrives.height) == (orientation >= 5)
    assert is_near(arrives.getpixel(middle_of(first_row, arrives)), RED, within=30)
    assert is_near(arrives.getpixel(middle_of(first_column, arrives)), BLUE, within=30)


def middle_of(side: str, picture: Image.Image) -> tuple[int, int]:
    width, height = picture.size
    return {
        "top": (width // 2, 5),
        "bottom": (width // 2, height - 6),
        "left": (5, height // 2),
        "right": (width - 6, height // 2),
    }[side]


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x09"])
def test_broken_exif_is_ignored(exif: bytes) -> None:
    assert fitted(encoded(Image.new("RGB", (9, 7), RED), "JPEG", exif=exif)).size == (9, 7)


def test_unreadable_exif_is_ignored() -> None:
    text = PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 4\nno hexadecimal digits")
    assert fitted(encoded(Image.new("RGB", (9, 7), RED), "PNG", pnginfo=text)).size == (9, 7)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert fitted(encoded(Image.new("RGB", (9, 7), RED), "JPEG", exif=exif)).size == (9, 7)


# Metadata


def laden(format_: str, picture: Image.Image) -> bytes:
    """The picture in a file with WORD in each kind of metadata of its format."""
    exif = Image.Exif()
    exif[0x010E] = WORD
    exif.get_ifd(0x8825).update({1: "N", 0x1D: WORD})
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


@pytest.mark.parametrize(("scene", "size"), [(photo, (90, 70)), (drawing, (820, 600))])
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_only_pixels_are_published(
    format_: str, size: tuple[int, int], scene: Callable[[int, int], Image.Image]
) -> None:
    sent = laden(format_, scene(*size))
    assert WORD.encode() in sent

    arrives = base64.b64decode(fit(as_base64(sent), max_size=800, max_pixels=MAX_PIXELS))

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
    ("colour", "format_"), [((200, 100, 90), "PNG"), ((90, 180, 110), "JPEG"), ((128, 128, 128), "WEBP")]
)
def test_a_phones_wide_colours_become_srgb(colour: tuple[int, int, int], format_: str) -> None:
    options = {"quality": 95} | ({"lossless": True} if format_ == "WEBP" else {})
    sent = encoded(Image.new("RGB", (100, 50), colour), format_, icc_profile=display_p3(), **options)
    assert is_near(fitted(sent).convert("RGB").getpixel((40, 20)), p3_to_srgb(colour), within=4)


def test_wide_colours_with_transparency_keep_it() -> None:
    sent = Image.new("RGBA", (30, 20), (200, 100, 90, 77))
    arrives = fitted(encoded(sent, "PNG", icc_profile=display_p3()))
    assert is_near(arrives.getpixel((5, 5)), (*p3_to_srgb((200, 100, 90)), 77), within=3)


def lab_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize("profile", [b"rubbish", b"", display_p3()[:200], lab_profile()])
@pytest.mark.parametrize(("mode", "format_"), [("L", "PNG"), ("RGB", "TIFF"), ("RGBA", "PNG")])
def test_an_invalid_profile_is_ignored(profile: bytes, mode: str, format_: str) -> None:
    sent = Image.new("RGBA", (30, 20), (80, 80, 80, 60)).convert(mode)
    arrives = fitted(encoded(sent, format_, icc_profile=profile))
    assert arrives.convert("RGBA").tobytes() == sent.convert("RGBA").tobytes()


def test_a_colour_profile_of_a_grey_picture_is_ignored() -> None:
    sent = Image.new("L", (30, 20), 80)
    arrives = fitted(encoded(sent, "PNG", icc_profile=display_p3()))
    assert arrives.convert("L").tobytes() == sent.tobytes()


# Format and size of the result


def test_a_phones_photo_becomes_a_small_jpeg() -> None:
    sent = encoded(photo(1600, 1200), "JPEG", quality=90)
    assert 450_000 < len(sent) < 1_000_000

    arrives = base64.b64decode(fit(as_base64(sent), max_size=800, max_pixels=MAX_PIXELS))

    assert Image.open(io.BytesIO(arrives)).format == "JPEG"
    assert len(arrives) <= 250_000


def test_a_photo_of_noise_becomes_a_small_jpeg() -> None:
    noise = Image.frombytes("RGB", (800, 800), random.Random(1).randbytes(800 * 800 * 3))
    arrives = fit(as_base64(encoded(noise, "JPEG", quality=95)), max_size=800, max_pixels=MAX_PIXELS)
    assert len(base64.b64decode(arrives)) <= 250_000


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "BMP", "TIFF"])
def test_a_photo_of_any_format_becomes_a_jpeg(format_: str) -> None:
    assert fitted(encoded(photo(300, 200), format_)).format == "JPEG"


@pytest.mark.parametrize("format_", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_map_sketch_becomes_a_png_with_exactly_its_colours(format_: str) -> None:
    sketch = drawing(700, 500)
    arrives = fitted(encoded(sketch, format_))
    assert arrives.format == "PNG"
    assert arrives.convert("RGB").tobytes() == sketch.tobytes()


def test_a_scaled_map_sketch_becomes_a_png() -> None:
    assert fitted(encoded(drawing(1000, 750), "PNG")).format == "PNG"


def test_a_picture_with_256_colours_keeps_them_exactly() -> None:
    chance = random.Random(2)
    colours = [tuple(chance.randbytes(3)) for _ in range(256)]
    patches = Image.new("RGB", (256, 64))
    for x, colour in enumerate(colours):
        patches.paste(colour, (x, 0, x + 1, 64))
    arrives = fitted(encoded(patches, "PNG"))
    assert (arrives.format, arrives.mode) == ("PNG", "P")
    assert arrives.convert("RGB").tobytes() == patches.tobytes()


def test_a_black_and_white_scan_becomes_a_png() -> None:
    scan = drawing(700, 500).convert("1")
    arrives = fitted(encoded(scan, "TIFF", compression="group4"))
    assert arrives.format == "PNG"
    assert arrives.convert("1").tobytes() == scan.tobytes()


@pytest.mark.parametrize("scene", [photo, drawing])
def test_a_jpeg_stays_a_jpeg(scene: Callable[[int, int], Image.Image]) -> None:
    assert fitted(encoded(scene(300, 200), "JPEG")).format == "JPEG"


def test_a_grey_photo_becomes_a_grey_jpeg() -> None:
    arrives = fitted(encoded(photo(300, 200).convert("L"), "PNG"))
    assert (arrives.format, arrives.mode) == ("JPEG", "L")


def test_the_result_is_base64_without_line_breaks() -> None:
    text = fit(as_base64(encoded(photo(300, 200), "PNG")), max_size=800, max_pixels=MAX_PIXELS)
    assert base64.b64encode(base64.b64decode(text, validate=True)).decode() == text


# Refusals


SMALL = encoded(Image.new("RGB", (9, 7), RED), "PNG")
SMALL_TEXT = as_base64(SMALL)


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_base64_with_line_breaks_is_accepted(line_break: str) -> None:
    lines = [SMALL_TEXT[at : at + 76] for at in range(0, len(SMALL_TEXT), 76)]
    assert opened(fit(line_break.join(lines) + line_break, max_size=800, max_pixels=MAX_PIXELS)).size == (9, 7)


@pytest.mark.parametrize(
    "text",
    [
        "data:image/png;base64," + SMALL_TEXT,
        SMALL_TEXT + "!",
        SMALL_TEXT + "====",
        SMALL_TEXT[:-2],
        SMALL_TEXT[:20] + " " + SMALL_TEXT[20:],
        SMALL_TEXT[:20] + "\t" + SMALL_TEXT[20:],
        SMALL_TEXT.replace("+", "-").replace("/", "_") + "-_",
        "é" + SMALL_TEXT,
        "\ud800" + SMALL_TEXT,
        "=",
        "<svg/>",
    ],
)
def test_invalid_base64_is_refused(text: str) -> None:
    with pytest.raises(Uncompliant) as refusal:
        fit(text, max_size=800, max_pixels=MAX_PIXELS)
    assert refusal.value.reason == NOT_BASE64


@pytest.mark.parametrize("text", ["", "\r\n"])
def test_empty_data_is_refused(text: str) -> None:
    with pytest.raises(Uncompliant) as refusal:
        fit(text, max_size=800, max_pixels=MAX_PIXELS)
    assert refusal.value.reason == EMPTY


@pytest.mark.parametrize(
    "file",
    [
        b"x",
        b"Hello, this is no picture.",
        b"\x89PNG",
        b"RIFF\x24\0\0\0WAVEfmt ",
        *(encoded(Image.new("RGB", (16, 16), RED), format_) for format_ in ("PPM", "ICO", "TGA")),
    ],
)
def test_an_unlisted_format_is_refused(file: bytes) -> None:
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


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"hevc"])
def test_without_pillow_heif_the_refusal_says_how_to_set_the_phone(
    brand: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_formats, "has_heif", lambda: False)
    refused = reason(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(40))
    assert "HEIC" in refused
    assert "Settings > Camera > Formats > Most Compatible" in refused


def heic(picture: Image.Image, **options: Any) -> bytes:
    """A HEIC file as an iPhone writes it: rotated by a property of the file, with EXIF that says the same."""
    if not image_formats.has_heif():
        pytest.skip("HEIC is read where pillow-heif is installed")
    return encoded(picture, "HEIF", **options)


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_iphones_photo_is_rotated_once_and_has_no_metadata(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010E] = orientation, WORD
    exif.get_ifd(0x8825).update({1: "N", 0x1D: WORD})
    stored = Image.new("RGB", (250, 188), WHITE)
    stored.paste(RED, (0, 0, 250, 48))  # the first row
    sent = heic(stored, exif=exif.tobytes())
    assert WORD.encode() in sent

    text = fit(as_base64(sent), max_size=200, max_pixels=MAX_PIXELS)
    arrives = opened(text).convert("RGB")

    first_row = {1: "top", 6: "right"}[orientation]
    assert arrives.size == ((150, 200) if orientation >= 6 else (200, 150))
    assert is_near(arrives.getpixel(middle_of(first_row, arrives)), RED, within=30)
    assert WORD.encode() not in base64.b64decode(text)


def test_a_heic_is_refused_by_its_size_before_it_is_decoded() -> None:
    file = heic(Image.new("RGB", (64, 64), RED))
    large = file.replace(
        b"ispe\0\0\0\0" + struct.pack(">II", 64, 64), b"ispe\0\0\0\0" + struct.pack(">II", 12000, 9000)
    )
    assert reason(large) == "The image is too large: 12000 × 9000 pixels, at most 64000000 are allowed."
    assert reason(file[: len(file) // 2]) in {DAMAGED, UNREADABLE}


def test_a_raw_photo_is_refused_instead_of_showing_its_preview() -> None:
    preview = encoded(Image.new("RGB", (160, 120), RED), "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    assert "a camera's raw file" in reason(preview)


def ihdr(width: int, height: int, *, depth: int = 8, colour: int = 2) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, STRIPS = 256, 257, 258, 259, 262, 273
SAMPLES, ROWS, STRIP_SIZES = 277, 278, 279
LONG = 4


def grey_tiff(**tags: int) -> bytes:
    values = {"width": 12000, "length": 9000, "bits": 8, "compression": 1, "samples": 1, "rows": 9000} | tags
    numbers = (WIDTH, LENGTH, BITS, COMPRESSION, SAMPLES, ROWS)
    named = [(number, LONG, 1, value) for number, value in zip(numbers, values.values(), strict=True)]
    return tiff_of_tags(*named, (PHOTOMETRIC, LONG, 1, 1), (STRIPS, LONG, 1, 8), (STRIP_SIZES, LONG, 1, 4))


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(png_of_chunks(ihdr(12000, 9000), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")), id="PNG"),
        pytest.param(b"GIF89a" + struct.pack("<HH", 12000, 9000) + b"\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;", id="GIF"),
        pytest.param(b"BM" + struct.pack("<IIIIiiHHIIIIII", 58, 0, 54, 40, 12000, 9000, 1, 24, *[0] * 6), id="BMP"),
        pytest.param(
            b"\xff\xd8\xff\xc0\0\x0b\x08" + struct.pack(">HH", 9000, 12000) + b"\1\1\x11\0\xff\xda\0\x08\1\1\0\0?\0",
            id="JPEG",
        ),
        pytest.param(webp_bomb(12000, 9000), id="WEBP"),
        pytest.param(b"RIFF\x1e\0\0\0WEBPVP8 \x12\0\0\0\0\0\0\x9d\1*" + struct.pack("<HH8x", 12000, 9000), id="VP8"),
        pytest.param(b"RIFF\x1e\0\0\0WEBPVP8L\x12\0\0\0/" + struct.pack("<I13x", 11999 | 8999 << 14), id="VP8L"),
        pytest.param(grey_tiff(), id="TIFF"),
        pytest.param(
            b"\xff\x4f\xff\x51\0\x29\0\0" + struct.pack(">8I", 12000, 9000, 0, 0, 512, 512, 0, 0), id="JPEG2000"
        ),
        pytest.param(
            b"\0\0\0\x18ftypavif\0\0\0\0mif1avif\0\0\0\x14ispe\0\0\0\0" + struct.pack(">II", 12000, 9000), id="AVIF"
        ),
    ],
)
def test_too_many_pixels_are_refused_by_the_header(file: bytes) -> None:
    assert reason(file) == "The image is too large: 12000 × 9000 pixels, at most 64000000 are allowed."


def test_the_caller_sets_the_pixel_limit() -> None:
    file = encoded(Image.new("RGB", (20, 10), RED), "PNG")
    assert fitted(file, max_pixels=200).size == (20, 10)
    assert reason(file, max_pixels=199) == "The image is too large: 20 × 10 pixels, at most 199 are allowed."


def test_the_pixel_limit_may_exceed_pillows_own() -> None:
    row = bytes(1 + 20000 // 8)
    file = png_of_chunks(ihdr(20000, 10000, depth=1, colour=0), (b"IDAT", zlib.compress(row * 10000)), (b"IEND", b""))
    assert fitted(file, max_pixels=200_000_000).size == (800, 400)


FILES = {
    "PNG": laden("PNG", drawing(90, 70)),
    "PNG with palette": encoded(drawing(90, 70).quantize(8), "PNG", transparency=1),
    "PNG in motion": encoded(drawing(40, 30), "PNG", save_all=True, append_images=[Image.new("RGB", (40, 30))]),
    "JPEG": laden("JPEG", photo(90, 70)),
    "JPEG, progressive": encoded(photo(90, 70), "JPEG", progressive=True),
    "JPEG, CMYK": encoded(photo(90, 70).convert("CMYK"), "JPEG"),
    "MPO": encoded(photo(90, 70), "MPO", save_all=True, append_images=[photo(90, 70)]),
    "WEBP": laden("WEBP", photo(90, 70)),
    "WEBP, lossless": encoded(drawing(90, 70), "WEBP", lossless=True),
    "GIF": laden("GIF", drawing(90, 70)),
    "BMP": encoded(photo(40, 30), "BMP"),
    "TIFF": laden("TIFF", photo(40, 30)),
    "TIFF, LZW": encoded(drawing(90, 70), "TIFF", compression="tiff_lzw"),
    "TIFF, JPEG": encoded(photo(90, 70), "TIFF", compression="jpeg"),
    "TIFF, elevations": encoded(photo(90, 70).convert("F"), "TIFF"),
    "TIFF, elevations, packed": encoded(photo(90, 70).convert("I;16"), "TIFF", compression="tiff_lzw"),
    "AVIF": encoded(photo(90, 70), "AVIF"),
    "JPEG 2000": encoded(photo(90, 70), "JPEG2000"),
    "JPEG 2000, tiles": encoded(photo(90, 70), "JPEG2000", no_jp2=True, tile_size=(32, 32)),
    "TIFF, Group 4": encoded(drawing(90, 70).convert("1"), "TIFF", compression="group4"),
}


SHOWN_IN_PART = {"PNG", "PNG with palette", "PNG in motion", "JPEG", "JPEG, CMYK", "MPO"}
CUT = [(name, 0.3) for name in FILES if name != "JPEG, progressive"]  # whose first tenth shows everything, coarsely
CUT += [(name, 0.6) for name, _ in CUT if name not in SHOWN_IN_PART]


@pytest.mark.parametrize(("name", "part"), CUT)
def test_a_truncated_file_is_refused(name: str, part: float) -> None:
    file = FILES[name]
    whole = file.find(b"\xff\xd9") if name == "MPO" else len(file)  # the second picture is not needed
    refused = reason(file[: int(whole * part)])
    assert refused in {DAMAGED, UNREADABLE} or refused.startswith("Only ") or EXPORT_IT in refused


def cut(file: bytes, share: float) -> bytes:
    """The file, truncated to that share of what follows its headers."""
    start = file.find(b"IDAT" if file.startswith(b"\x89PNG") else b"\xff\xda")  # other letters may occur by chance
    return file[: start + int((len(file) - start) * share)]


CUT_JPEGS: dict[str, dict[str, Any]] = {
    "4:4:4": {"subsampling": "4:4:4"},
    "4:2:0": {"subsampling": "4:2:0"},
    "restarts": {"restart_marker_rows": 1},
}


# Each mode with each name and size: these are decoded at scale 1, 1/2 and 1/4.
@pytest.mark.parametrize(
    ("mode", "name", "size"),
    [
        (mode, name, [(150, 120), (850, 650), (1650, 1300)][(row + column) % 3])
        for row, mode in enumerate(["L", "RGB", "CMYK"])
        for column, name in enumerate(CUT_JPEGS)
    ],
)
def test_the_existing_part_of_a_truncated_photo_is_shown(name: str, mode: str, size: tuple[int, int]) -> None:
    scene = quarters(*size).convert(mode)
    file = encoded(scene, "JPEG", quality=90, **CUT_JPEGS[name])
    whole, part = (fitted(each, max_size=400) for each in (file, cut(file, 0.75)))
    assert part.size == whole.size
    came = (0, 0, whole.width, whole.height * 6 // 10)
    assert ImageChops.difference(whole.crop(came), part.crop(came)).convert("L").getextrema()[1] < 30
    last = part.convert("RGB").crop((0, whole.height * 9 // 10, whole.width, whole.height))
    assert len(last.getcolors(99) or ()) < 9  # one grey, except for JPEG's artefacts


@pytest.mark.parametrize("progressive", [False, True])
def test_a_photo_without_its_end_marker_is_shown_whole(progressive: bool) -> None:
    file = encoded(photo(300, 200), "JPEG", progressive=progressive)
    assert file.endswith(b"\xff\xd9")
    assert fitted(file[:-2]).tobytes() == fitted(file).tobytes()


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_progressive_photo_that_lacks_its_fine_scans_is_shown(share: float) -> None:
    file = encoded(photo(900, 700), "JPEG", progressive=True)
    difference = ImageChops.difference(fitted(cut(file, share)), fitted(file))
    assert max(difference.resize((4, 4), Image.Resampling.BOX).convert("L").tobytes()) < 8


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3])
def test_a_photo_with_little_data_is_refused_with_the_share_that_arrived(share: float, progressive: bool) -> None:
    file = encoded(photo(900, 700), "JPEG", progressive=progressive, quality=90)
    share = share / 20 if progressive else share  # its first scan is a twentieth of it, and shows everything
    refused = reason(cut(file, share))
    found = re.fullmatch(r"Only (\d+) % of this photo arrived: please send it again\.", refused)
    assert found
    assert progressive or abs(int(found[1]) - 100 * share) < 12


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_the_existing_part_of_a_truncated_screenshot_is_shown(mode: str) -> None:
    scene = photo(600, 500).convert(mode)
    file = encoded(scene, "PNG", compress_level=1)
    arrives = fitted(cut(file, 0.8))
    came = (0, 0, 600, 380)
    difference = ImageChops.difference(arrives.convert("RGB").crop(came), scene.convert("RGB").crop(came))
    assert max(difference.resize((4, 4), Image.Resampling.BOX).convert("L").tobytes()) < 8
    assert len(arrives.convert("RGB").crop((0, 480, 600, 500)).getcolors(999) or ()) < 9


def test_a_screenshot_with_little_data_is_refused_with_the_share_that_arrived() -> None:
    assert re.fullmatch(r"Only 2[0-9] % of this photo.*", reason(cut(encoded(photo(600, 500), "PNG"), 0.25)))
    assert reason(png_of_chunks(ihdr(90, 70))).startswith("Only 0 %")


def test_a_truncated_interlaced_picture_is_refused() -> None:
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    pixels = zlib.compress(random.Random(1).randbytes(90))
    assert reason(png_of_chunks((b"IHDR", header), (b"IDAT", pixels[:80]))) == DAMAGED


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(SMALL[:40] + b"\x55" * 400, id="garbage after a right header"),
        pytest.param(png_of_chunks(ihdr(0, 9), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")), id="no width"),
        pytest.param(png_of_chunks(ihdr(9, 0), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")), id="no height"),
        pytest.param(
            png_of_chunks(ihdr(8000, 8000), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")), id="lying PNG"
        ),
        pytest.param(png_of_chunks(ihdr(9, 9, depth=3)), id="no such depth"),
        pytest.param(
            png_of_chunks(ihdr(9, 9, colour=3), (b"IDAT", zlib.compress(bytes(90))), (b"IEND", b"")), id="no palette"
        ),
        pytest.param(SMALL[:33] + b"\0\0\0\4IDATtext" + SMALL[33:], id="a chunk with a wrong checksum"),
        pytest.param(b"GIF89a", id="a signature alone"),
        pytest.param(b"BM" + bytes(60), id="zeros after a signature"),
        pytest.param(b"\xff\xd8\xff\xe0" + b"\xff" * 99, id="padding after a signature"),
        pytest.param(b"II*\0\xff\xff\xff\xff", id="a directory beyond the end"),
        pytest.param(b"MM\0*\0\0\0\x08\xff\xff" + bytes(12), id="more tags than bytes"),
        pytest.param(grey_tiff(width=900, length=900, samples=60000), id="60000 samples a pixel"),
        pytest.param(grey_tiff(width=900, length=900, bits=4_000_000_000), id="4 thousand million bits a sample"),
        pytest.param(grey_tiff(width=900, length=900, compression=34712), id="no such compression"),
        pytest.param(grey_tiff(width=900, length=900, rows=0), id="no rows in a strip"),
        pytest.param(grey_tiff(width=900, length=900, compression=5), id="LZW of nothing"),
    ],
)
def test_a_damaged_file_is_refused(file: bytes) -> None:
    refused = reason(file)
    assert (
        refused in {DAMAGED, UNREADABLE, TOO_LONG}
        or refused.startswith("Only 0 %")
        or (EXPORT_IT in refused and file[:2] in (b"II", b"MM"))
    )


BOMB = zlib.compress(bytes(50_000_000), 1)


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
    file = SMALL[:33] + b"".join(png_chunk(*chunk) for chunk in chunks) + SMALL[33:]
    assert fitted(file).convert("RGB").tobytes() == Image.new("RGB", (9, 7), RED).tobytes()


def test_excessive_exif_is_not_read() -> None:
    """Its orientation may be a million fractions."""
    head = b"Exif\0\0II*\0" + struct.pack("<IHHHII", 8, 1, ORIENTATION, 3, 1, 6) + bytes(4)
    picture = Image.new("RGB", (40, 30), RED)
    assert fitted(encoded(picture, "WEBP", exif=head)).size == (30, 40)
    assert fitted(encoded(picture, "WEBP", exif=head.ljust(1 << 19, b"\0"))).size == (40, 30)


def test_a_picture_of_very_many_chunks_is_refused() -> None:
    assert reason(SMALL[:33] + png_chunk(b"tEXt", b"") * 60_000 + SMALL[33:]) == DAMAGED


def test_data_after_the_end_of_a_file_is_ignored() -> None:
    assert fitted(SMALL + b"<?php ?>" * 99).size == (9, 7)


# Random data


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(grey_tiff(width=900, length=900, samples=60000), id="Pillow logs it"),
        pytest.param(FILES["TIFF, LZW"][:-20], id="Pillow warns of it"),
        pytest.param(encoded(photo(9, 7), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09"), id="Pillow warns of its EXIF"),
    ],
)
def test_no_content_of_a_file_is_logged(file: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(record=True, action="always") as warned, suppress(Uncompliant):
        fit(as_base64(file), max_size=800, max_pixels=MAX_PIXELS)
    assert not warned
    assert not caplog.records


def test_a_lack_of_memory_is_not_reported_as_the_clients_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def want(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load_read", want)
    with pytest.raises(MemoryError):
        fit(as_base64(FILES["JPEG"]), max_size=800, max_pixels=MAX_PIXELS)
