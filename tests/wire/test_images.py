"""Images: scaled, rotated, without metadata; and invalid files. tests/worker/test_images.py has all rules."""

import base64
import re

from PIL import Image

from tests.support.contract import CANARY, sample
from tests.support.pictures import BLUE, GREEN, RED, WHITE, as_base64, bomb_png, encoded, opened, phone_photo, quarters
from tests.wire.conftest import Join

# The colours of the four quarters as a viewer sees them, as the sensor saw them and turned by a quarter (Exif 2.32, tag
# 0x0112, 1 and 6).
UPRIGHT, TURNED = [RED, GREEN, BLUE, WHITE], [BLUE, RED, WHITE, GREEN]


def shows(picture: Image.Image, colours: list[tuple[int, int, int]]) -> bool:
    """Whether the four quarters have these colours, except for the shade of `quarters` and the losses of JPEG."""
    width, height = picture.size
    seen = [picture.convert("RGB").getpixel((x * width // 4, y * height // 4)) for y in (1, 3) for x in (1, 3)]
    pairs = zip(seen, colours, strict=True)
    return all(abs(a - b) < 45 for one, other in pairs for a, b in zip(one, other, strict=True))  # type: ignore[arg-type]


async def test_a_phones_photo_arrives_upright_small_and_without_metadata(channel: str, join: Join) -> None:
    # Given a photo of 12 megapixels, taken with the phone held upright
    sender, other = await join(channel), await join(channel, front=1)
    photo = phone_photo(4032, 3024, orientation=6, description=CANARY)

    # When it is sent
    await sender.send(**sample("image", image_data=as_base64(photo)))
    received = await sender.until(type="image")

    # Then everyone gets a JPEG that fits, is upright, and has no metadata
    assert (await other.until(type="image")) == received
    picture = opened(received["image_data"])
    assert (picture.format, picture.size) == ("JPEG", (600, 800))
    assert shows(picture, TURNED)
    assert not picture.getexif()
    data = base64.b64decode(received["image_data"])
    assert b"Exif" not in data
    assert CANARY.encode() not in data
    assert len(data) < 200_000


async def test_the_usual_formats_are_taken_and_come_as_png_or_jpeg(channel: str, join: Join) -> None:
    client = await join(channel)
    for format_ in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"):
        await client.send(**sample("image", image_data=as_base64(encoded(quarters(300, 200), format_))))

        picture = opened((await client.until(type="image"))["image_data"])
        assert picture.format in ("PNG", "JPEG")
        assert picture.size == (300, 200)
        assert shows(picture, UPRIGHT), format_


NO_IMAGES = {
    "not base64": f"{CANARY}!!!",
    "a text": as_base64(f"this is {CANARY}".encode()),
    "a bomb of 60 000 × 60 000 pixels": as_base64(bomb_png(60_000, 60_000)),
    "a format that is not on the list": as_base64(encoded(quarters(30, 30), "PPM")),
}


async def test_invalid_images_are_refused_to_the_sender_only(channel: str, join: Join) -> None:
    sender, other = await join(channel), await join(channel, front=1)
    for name, no_image in NO_IMAGES.items():
        await sender.send(**sample("image", image_data=no_image))

        assert await sender.refusal(), name
    photo = encoded(quarters(1000, 800), "JPEG")
    await sender.send(**sample("image", image_data=as_base64(photo[: len(photo) // 5])))
    assert re.fullmatch(r"Only \d+ % of this photo arrived: please send it again\.", await sender.refusal())
    marker = await sender.say()
    await sender.nothing_before(marker)
    await other.nothing_before(marker)
