"""The history of a channel."""

from tests.support.contract import sample
from tests.support.rest import Rest
from tests.wire.conftest import Join

CHEAT_CODES = ["givemesomecheese", "lookattheflickofqgis", "iamarobot", "its10oclock", "qgisprolicense"]
CHEAT_CODES += ["wizz", "spaceandtime"]


async def test_the_newest_messages_are_kept_oldest_first(channel: str, join: Join, rests: list[Rest]) -> None:
    # Given two fronts, and more messages than are stored
    speakers = [await join(channel), await join(channel, front=1)]
    said = []
    for number in range(8):
        text = await speakers[number % 2].say()
        said.append(await speakers[number % 2].until(text=text))

    # Then the five newest are stored, as they were broadcast
    for rest in rests:
        assert await rest.last(channel) == said[-5:]
    assert (await join(channel, settled=True)).received[:5] == said[-5:]


async def test_cheat_codes_are_broadcast_and_only_they_are_forgotten(channel: str, join: Join, rest: Rest) -> None:
    client, other = await join(channel), await join(channel, front=1)
    similar = ["Wizz", "wizz ", "a wizz"]
    for text in (*similar, *CHEAT_CODES):
        await client.say(text)
    marker = await client.say()

    for receiver in (client, other):
        await receiver.until(text=marker)
        assert receiver.texts() == [*similar, *CHEAT_CODES, marker]
    assert [message["text"] for message in await rest.last(channel)] == [*similar, marker]


async def test_presence_likes_and_refused_messages_are_not_stored(channel: str, join: Join, rest: Rest) -> None:
    jane, john = await join(channel, nickname="jane"), await join(channel, front=1, nickname="john")

    await jane.send(**sample("like"))
    await john.until(type="like")
    await john.send(type="exiter", exiter="john")
    await jane.until(type="exiter")
    for refused in (sample("text", text="x" * 256), sample("image", image_data="bm90IGFuIGltYWdl")):
        await jane.send(**refused)
        await jane.refusal()
    marker = await jane.say()
    await jane.until(text=marker)

    assert [message["text"] for message in await rest.last(channel)] == [marker]
