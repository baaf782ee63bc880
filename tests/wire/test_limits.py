"""The limit of every field: what reaches it is taken, what is one above is refused."""

from typing import Any

import pytest

from tests.support.contract import Message, sample
from tests.support.layers import points
from tests.support.pictures import as_base64, png_of_exactly
from tests.wire.conftest import Join

PLACED = ("crs", "bbox", "position")
AUTHORED = ("text", "image", "geojson", "crs", "bbox", "position", "model", "script")

# (type, field, its longest value)
LONGEST: list[tuple[str, str, int]] = [
    *((type_, "author", 32) for type_ in AUTHORED),
    *((type_, "avatar", 255) for type_ in AUTHORED),
    ("text", "text", 255),
    ("geojson", "layer_name", 255),
    *((type_, "crs_wkt", 10_000) for type_ in PLACED),
    *((type_, "crs_authid", 50) for type_ in PLACED),
    ("model", "model_name", 128),
    ("model", "model_group", 128),
    ("model", "raw_xml", 1_000_000),
    ("script", "name", 128),
    ("script", "raw_pycode", 2_000_000),
]


def _shown(value: Any) -> str:
    return str(value)[:20]


@pytest.mark.parametrize(("type_", "field", "longest"), LONGEST)
async def test_a_field_is_as_long_as_it_may_and_no_longer(
    type_: str, field: str, longest: int, channel: str, join: Join
) -> None:
    sender, other = await join(channel), await join(channel, front=1)

    # What is as long as it may be arrives
    await sender.send(**sample(type_, **{field: "x" * longest}))
    for receiver in (sender, other):
        assert (await receiver.until(type=type_))[field] == "x" * longest

    # What is one longer is refused, to the sender alone
    await sender.send(**sample(type_, **{field: "x" * (longest + 1)}))
    assert await sender.refusal()
    await other.nothing_before(await sender.say())


@pytest.mark.parametrize("character", ["é", "漢", "🗺", '"'])
async def test_a_length_is_counted_in_characters_not_in_bytes(character: str, channel: str, join: Join) -> None:
    client = await join(channel)

    await client.send(**sample("text", text=character * 255))
    assert (await client.until(type="text"))["text"] == character * 255

    await client.send(**sample("text", text=character * 256))
    assert await client.refusal()


@pytest.mark.parametrize("type_", AUTHORED)
async def test_the_shortest_nickname_is_taken_and_a_shorter_one_refused(type_: str, channel: str, join: Join) -> None:
    client = await join(channel)

    await client.send(**sample(type_, author="abc"))
    assert (await client.until(type=type_))["author"] == "abc"

    await client.send(**sample(type_, author="ab"))
    assert await client.refusal()


async def test_an_image_is_as_long_as_it_may_and_no_longer(channel: str, join: Join) -> None:
    # Given a picture of exactly 12 000 000 characters of base64, and one of the next possible length
    client = await join(channel)
    longest, too_long = (as_base64(png_of_exactly(size)) for size in (9_000_000, 9_000_001))
    assert (len(longest), len(too_long)) == (12_000_000, 12_000_004)

    await client.send(**sample("image", image_data=longest))
    await client.until(type="image")

    await client.send(**sample("image", image_data=too_long))
    assert await client.refusal() == "This photo has 9.1 MB; at most 9.0 MB can be sent here."


async def test_a_like_is_as_long_as_it_may_and_no_longer(channel: str, join: Join) -> None:
    jane, john = await join(channel), await join(channel, front=1, nickname="john")

    await jane.send(**sample("like", message="x" * 255))
    assert (await john.until(type="like"))["message"] == "x" * 255

    await jane.send(**sample("like", message="x" * 256))
    assert await jane.refusal()
    await john.nothing_before(await jane.say())


@pytest.mark.parametrize("field", ["liker_author", "liked_author"])
async def test_the_nicknames_of_a_like_are_as_long_as_they_may_and_no_longer(
    field: str, channel: str, join: Join
) -> None:
    # Given someone with the longest nickname there is
    jane, john = await join(channel), await join(channel, front=1, nickname="j" * 32)
    like = sample("like", liked_author="j" * 32)

    await jane.send(**{**like, field: "j" * 32})
    assert (await john.until(type="like"))[field] == "j" * 32

    await jane.send(**{**like, field: "j" * 33})
    assert await jane.refusal()
    await john.nothing_before(await jane.say())


async def test_a_nickname_to_register_is_as_long_as_it_may_and_no_longer(channel: str, join: Join) -> None:
    client = await join(channel)

    for nickname in ("abc", "x" * 32):
        await client.register(nickname)
    for nickname in ("ab", "x" * 33):
        await client.send(type="newcomer", newcomer=nickname)
        assert await client.refusal()


async def test_the_limit_on_features_is_told_exactly(channel: str, join: Join) -> None:
    client, other = await join(channel), await join(channel, front=1)
    most: Message = sample("geojson", geojson=points(500))

    await client.send(**most)
    assert (await other.until(type="geojson"))["geojson"] == most["geojson"]

    await client.send(**sample("geojson", geojson=points(501)))
    assert await client.refusal() == "Too many geojson features : 501 vs max 500 allowed"
    await other.nothing_before(await client.say())
