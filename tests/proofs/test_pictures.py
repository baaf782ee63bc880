"""Pictures: what programs write arrives, within the limits; any bytes are a picture or refused in words."""

import random
from functools import cache

from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from gischat.errors import Uncompliant
from tests.proofs.refusals import in_words
from tests.support.pictures import as_base64, encoded, opened
from tests.worker.pictures import photo
from worker.image_costs import estimate
from worker.images import fit

MAX_SIZE, MAX_PIXELS = 64, 1_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000")
MODES = ("1", "L", "P", "RGB", "RGBA")


@cache
def files() -> list[bytes]:
    return [
        *(encoded(photo(90, 70), name) for name in sorted(FORMATS)),
        encoded(photo(40, 30).convert("P"), "GIF", save_all=True, append_images=[photo(40, 30)]),
        encoded(photo(90, 70), "JPEG", progressive=True),
        encoded(photo(90, 70).convert("RGBA"), "PNG", interlace=1),
        encoded(photo(90, 70), "TIFF", compression="tiff_lzw"),
    ]


def arriving(file: bytes) -> Image.Image | None:
    """The picture that arrives; None: it is refused in words."""
    try:
        data = fit(as_base64(file), max_size=MAX_SIZE, max_pixels=MAX_PIXELS)
    except Uncompliant as refusal:
        in_words(refusal, most=300)
        return None
    picture = opened(data)
    assert picture.format in ("PNG", "JPEG")
    assert max(picture.size) <= MAX_SIZE
    assert not picture.getexif()
    return picture


@example("JPEG2000", "L", 8, 257)  # halved twice, 257 rows are 65 to OpenJPEG and 64 to Pillow
@given(st.sampled_from(FORMATS), st.sampled_from(MODES), st.integers(1, 300), st.integers(1, 300))
def test_any_picture_arrives_within_limits_with_its_aspect(format_: str, mode: str, width: int, height: int) -> None:
    assume(max(width, height) <= 40 * min(width, height))
    source = photo(width, height).convert(mode)
    try:
        file = encoded(source, format_)
    except (OSError, ValueError):
        assume(False)  # no file of this format has such a picture
    arrived = arriving(file)
    assert arrived is not None
    scale = min(1, MAX_SIZE / max(width, height))
    assert all(abs(found - scale * sent) <= 1 for found, sent in zip(arrived.size, (width, height), strict=True))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file in which some bytes are others, more often those of its head; or that ends early, or goes on."""
    data = bytearray(draw(st.sampled_from(files())))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for kind in draw(
        st.lists(st.sampled_from(["byte", "bit", "cut", "fill", "double", "end"]), min_size=1, max_size=6)
    ):
        at = min(int(chance.expovariate(4 / max(len(data), 1))), max(len(data) - 1, 0))
        if kind == "byte":
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == "bit" and data:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            del data[at : at + chance.randint(1, 8)]
        elif kind == "fill":
            data[at : at + 4] = chance.choice([bytes(4), b"\xff" * 4])
        elif kind == "double":
            data[at:at] = data[at : at + chance.randint(1, 40)]
        elif chance.random() < 0.1:
            del data[max(at, 1) :]
    return bytes(data)


@given(st.binary(max_size=300) | damaged())
def test_any_bytes_have_a_predicted_cost_and_are_a_picture_or_refused_in_words(file: bytes) -> None:
    assert estimate(file).seconds >= 0
    arriving(file)
