"""The limit of every field: a value at the limit is accepted, a longer one is refused."""

from tests.support.contract import sample
from tests.support.layers import points
from tests.support.pictures import as_base64, png_of_exactly
from tests.wire.conftest import Join

# (type, field, longest value); tests/gischat/protocol/test_messages.py covers all fields
LONGEST = [
    ("text", "text", 255),
    ("geojson", "layer_name", 255),
    ("crs", "crs_wkt", 10_000),
    ("bbox", "crs_authid", 50),
    ("position", "avatar", 255),
    ("model", "raw_xml", 1_000_000),
    ("script", "raw_pycode", 2_000_000),
    ("image", "author", 32),
]


async def test_the_limit_of_every_field(channel: str, join: Join) -> None:
    sender, other = await join(channel), await join(channel, front=1)

    for type_, field, longest in LONGEST:
        # A value at the limit arrives
        await sender.send(**sample(type_, **{field: "x" * longest}))
        for receiver in (sender, other):
            assert (await receiver.until(type=type_))[field] == "x" * longest

        # A longer one is refused, and only the sender is told
        await sender.send(**sample(type_, **{field: "x" * (longest + 1)}))
        assert await sender.refusal()
        await other.nothing_before(await sender.say())


async def test_the_limits_of_images_and_features_are_refused_in_exact_words(channel: str, join: Join) -> None:
    client, other = await join(channel), await join(channel, front=1)
    # Given a picture of exactly 12 000 000 characters of base64, and one of the next possible length
    longest, too_long = (as_base64(png_of_exactly(size)) for size in (9_000_000, 9_000_001))
    assert (len(longest), len(too_long)) == (12_000_000, 12_000_004)
    for type_, field, most, too_much, reason in (
        ("image", "image_data", longest, too_long, "This photo has 9.1 MB; at most 9.0 MB can be sent here."),
        ("geojson", "geojson", points(500), points(501), "Too many geojson features : 501 vs max 500 allowed"),
    ):
        await client.send(**sample(type_, **{field: most}))
        received = await other.until(type=type_)
        assert type_ == "image" or received[field] == most

        await client.send(**sample(type_, **{field: too_much}))
        assert await client.refusal() == reason
        await other.nothing_before(await client.say())
