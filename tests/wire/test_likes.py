"""Likes, which only the liked author receives."""

from collections.abc import Iterator

from tests.support.contract import sample
from tests.wire.conftest import Join


async def test_a_like_reaches_the_liked_one_alone(channel: str, join: Join) -> None:
    # Given john on one front, jane and others on both
    jane = await join(channel, nickname="jane")
    others = [await join(channel), await join(channel, front=1, nickname="jack")]
    for front, nickname in ((0, "john"), (1, "jim")):
        liked = await join(channel, front=front, nickname=nickname)
        for client in (jane, *others):
            await client.until(type="newcomer", newcomer=nickname)

        # When jane likes his text
        await jane.send(**(like := sample("like", liked_author=nickname)))
        marker = await jane.say()

        # Then he gets the like, on whichever front he is, and nobody else does, including jane
        assert (await liked.until(type="like")).items() >= like.items()
        await liked.until(text=marker)
        for client in (jane, *others):
            await client.until(text=marker)
            assert not [m for m in client.received if m["type"] == "like"]


async def test_a_like_of_nobody_reaches_nobody(channel: str, join: Join) -> None:
    # Given john, who has not registered
    jane, john = await join(channel, nickname="jane"), await join(channel, front=1)
    await john.until(text=await john.say(author="john"))

    # When jane likes his text
    await jane.send(**sample("like", liked_author="john"))
    marker = await jane.say()

    # Then nobody receives the like
    for client in (jane, john):
        await client.until(text=marker)
        assert not [m for m in client.received if m["type"] in ("like", "uncompliant")]


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


async def test_a_like_stays_in_its_channel(join: Join, fresh_channels: Iterator[str]) -> None:
    here, there = next(fresh_channels), next(fresh_channels)
    jane, namesake = await join(here), await join(there, nickname="john")
    john = await join(here, front=1, nickname="john")

    await jane.send(**sample("like"))
    await john.until(type="like")

    await namesake.nothing_before(await namesake.say())


async def test_one_can_like_oneself(channel: str, join: Join) -> None:
    jane = await join(channel, nickname="jane")

    await jane.send(**sample("like", liked_author="jane"))

    await jane.until(type="like", liked_author="jane")
