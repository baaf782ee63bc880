"""REQUIRE_REGISTRATION: authors and likers must have registered their nickname."""

import json
from collections.abc import Iterator

import pytest

from tests.conftest import StackFactory
from tests.support.contract import BROADCAST, sample, words
from tests.support.processes import Stack
from tests.support.rest import Rest, channel_path
from tests.wire.conftest import Join

CHANNELS = [f"c{number}" for number in range(5)]
PRIVATE, TOKEN = "private", "s3cret"


@pytest.fixture(scope="module")
def stack(open_stack: StackFactory) -> Iterator[Stack]:
    """Two fronts on which only registered nicknames may write."""
    channels = ",".join([*CHANNELS, PRIVATE])
    settings = {"channels": channels, "channel_tokens": f"{PRIVATE}:{TOKEN}", "require_registration": True}
    with open_stack(fronts=2, light=2, **settings) as stack:
        yield stack
    stack.assert_quiet_logs()


@pytest.fixture(scope="module")
def fresh_channels() -> Iterator[str]:
    """The names of unused channels."""
    return iter(CHANNELS)


async def test_every_type_with_an_author_or_liker_requires_registration(channel: str, join: Join) -> None:
    incognito, jane = await join(channel), await join(channel, nickname="jane", front=1)

    for type_ in BROADCAST:
        await incognito.send(**sample(type_, author="stranger"))
        await jane.send(**sample(type_, author="stranger"))

        expected = "Register your nickname first: nobody may write as 'stranger' here without it."
        assert (await incognito.refusal()).startswith(expected)
        assert (await jane.refusal()).startswith("You are registered as 'jane': you cannot write as 'stranger'.")
        await jane.send(**sample(type_, author="jane"))
        assert (await incognito.until(type=type_))["author"] == "jane"
    # Nobody writes or likes under the nickname of another
    john = await join(channel, nickname="john", front=1)
    await john.say(author="jane")
    assert (await john.refusal()).startswith("You are registered as 'john': you cannot write as 'jane'.")
    like = {"type": "like", "liked_author": "jane", "message": words()}
    await john.send(**like, liker_author="jack")
    assert "You are registered as 'john'" in await john.refusal()
    await john.send(**like, liker_author="john")
    assert (await jane.until(type="like"))["liker_author"] == "john"


async def test_what_comes_behind_a_newcomer_or_an_exiter_depends_on_it(channel: str, join: Join) -> None:
    """QGIS and QField send a text right behind their `newcomer`, without waiting for an answer."""
    jane, impostor = await join(channel), await join(channel, front=1)
    await jane.send(type="newcomer", newcomer="jane")
    await jane.until(text=await jane.say(author="jane"))
    # Both are refused if the nickname is
    await impostor.send(type="newcomer", newcomer="jane")
    await impostor.say(author="jane")
    assert "already registered" in await impostor.refusal()
    assert "Register your nickname first" in await impostor.refusal()
    # A nickname that was given up cannot be used until anybody registers it again: here the impostor, who asked for it
    await jane.send(type="exiter", exiter="jane")
    await jane.say(author="jane")
    assert "Register your nickname first" in await jane.refusal()
    await impostor.until(type="newcomer", newcomer="jane")
    await jane.until(text=await impostor.say(author="jane"))


async def test_a_nickname_that_changes_owner_never_has_two(channel: str, join: Join) -> None:
    """Two connections alternately register and give up a nickname as fast as possible, and always write under it."""
    # Given the messages of each: register, write, give up, write again
    clients = [await join(channel), await join(channel, front=1)]
    witness = await join(channel)
    for number in range(20):
        for index, client in enumerate(clients):
            await client.send(type="newcomer", newcomer="jane")
            await client.say(f"{index} {number}", author="jane")
            await client.send(type="exiter", exiter="jane")
            await client.say(f"{index} {number} too late", author="jane")
    # When all messages have been published or refused
    for index, client in enumerate(clients):
        await client.send(type="newcomer", newcomer=f"last-{index}")
        await client.say(f"last {index}", author=f"last-{index}")
        await witness.until(text=f"last {index}")
    # Then all texts between a newcomer and its exiter are from one connection, and there are no others
    writers: set[str] | None = None
    for message in witness.received:
        if message.get("newcomer") == "jane":
            writers = set()
        elif message.get("exiter") == "jane":
            writers = None
        elif message.get("author") == "jane":
            assert writers is not None, f"{message['text']!r} under a nickname that nobody had"
            writers.add(message["text"].split()[0])
            assert len(writers) == 1
    assert any(message.get("author") == "jane" for message in witness.received)


async def test_http_requests_cannot_register(channel: str, rest: Rest) -> None:
    answer = await rest.put_text(channel, {"author": "a-bot", "text": words()})
    assert answer.code == 403
    assert "only registered nicknames may write" in json.loads(answer.body)["detail"]
    assert await rest.last(channel) == []


async def test_a_bot_with_a_private_channels_token_may_use_a_free_nickname(join: Join, rest: Rest) -> None:
    jane = await join(PRIVATE, nickname="jane", query=f"?token={TOKEN}")
    path = channel_path(PRIVATE, "text") + f"?token={TOKEN}"

    wrong = await rest.fetch(path, "PUT", json.dumps({"author": "jane", "text": words()}))
    right = await rest.fetch(path, "PUT", json.dumps({"author": "a-bot", "text": (text := words())}))

    assert (wrong.code, right.code) == (403, 200)
    assert json.loads(wrong.body) == {"detail": "This nickname is registered by somebody else."}
    await jane.nothing_before(text)
