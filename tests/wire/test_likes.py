"""Likes, which only the liked author receives."""

from collections.abc import Iterator

from tests.support.contract import sample
from tests.wire.conftest import Join

NAMES = ("jane", "john", "jim")


async def test_a_like_reaches_the_liked_one_alone(join: Join, fresh_channels: Iterator[str]) -> None:
    # Given people on both fronts, one of whom has not registered, and a namesake in another channel
    channel, elsewhere = next(fresh_channels), next(fresh_channels)
    people = {name: await join(channel, nickname=name, front=number % 2) for number, name in enumerate(NAMES)}
    incognito, namesake = await join(channel, front=1), await join(elsewhere, front=1, nickname="john")
    jane = people["jane"]

    # When jane likes each of them, herself, and nobody
    likes = [sample("like", liked_author=name) for name in (*NAMES, "nobody")]
    for like in likes:
        await jane.send(**like)
    marker = await jane.say()

    # Then each gets the like, on whichever front, and nobody else does
    for name, client in [*people.items(), ("", incognito)]:
        await client.until(text=marker)
        received = [m["liked_author"] for m in client.received if m["type"] == "like"]
        assert received == [name] * (client is not incognito)
        assert not [m for m in client.received if m["type"] == "uncompliant"]
    assert (await people["john"].until(type="like")).items() >= likes[1].items()
    await namesake.nothing_before(await namesake.say())


async def test_a_like_follows_the_nickname(channel: str, join: Join) -> None:
    # Given a nickname that john gave up and jack registered
    jane, john = await join(channel), await join(channel, nickname="john")
    await john.send(type="exiter", exiter="john")
    await john.until(type="exiter")
    jack = await join(channel, front=1, nickname="john")

    # When it is liked, jack gets the like
    await jane.send(**sample("like", liked_author="john"))
    await jack.until(type="like")
    await john.until(text=await jane.say())
    assert not [m for m in john.received if m["type"] == "like"]
