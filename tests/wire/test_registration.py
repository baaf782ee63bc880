"""REQUIRE_REGISTRATION: who writes or likes does it under the nickname that is registered for the connection."""

import json
from collections.abc import Awaitable, Callable, Iterator

import pytest
from tornado.ioloop import IOLoop

from tests.conftest import StackFactory
from tests.support.client import Client
from tests.support.contract import BROADCAST, sample, words
from tests.support.processes import Stack
from tests.support.rest import Rest, channel_path

CHANNELS = [f"c{number}" for number in range(1, 21)]
PRIVATE, TOKEN = "private", "s3cret"

Enter = Callable[..., Awaitable[Client]]


@pytest.fixture(scope="module")
def house(open_stack: StackFactory) -> Iterator[Stack]:
    """Two fronts on which only registered nicknames may write."""
    channels = ",".join([*CHANNELS, PRIVATE])
    settings = {"channels": channels, "channel_tokens": f"{PRIVATE}:{TOKEN}", "require_registration": True}
    with open_stack(fronts=2, light=2, **settings) as stack:
        yield stack
    stack.assert_quiet_logs()


@pytest.fixture(scope="module")
def fresh_channels() -> Iterator[str]:
    """The names of channels that no test has used."""
    return iter(CHANNELS)


@pytest.fixture
def enter(io_loop: IOLoop, house: Stack) -> Iterator[Enter]:
    """Lets clients join; they leave when the test ends."""
    clients = []

    async def enter(channel: str, nickname: str | None = None, *, front: int = 0, query: str = "") -> Client:
        client = await Client.connect(house.fronts[front].url, channel, query=query)
        clients.append(client)
        if nickname is not None:
            await client.register(nickname)
        return client

    async def leave() -> None:
        for client in clients:
            await client.leave()

    yield enter
    io_loop.run_sync(leave)


@pytest.fixture
def rest(io_loop: IOLoop, house: Stack) -> Iterator[Rest]:
    """HTTP requests to the first front."""
    client = Rest(house.fronts[0].url)
    yield client
    client.close()


async def test_a_text_right_behind_its_newcomer_is_published(channel: str, enter: Enter) -> None:
    """So QGIS and QField send it, and wait for nothing."""
    jane = await enter(channel)
    await jane.send(type="newcomer", newcomer="jane")
    text = await jane.say(author="jane")
    assert (await jane.until(type="text"))["text"] == text


@pytest.mark.parametrize("type_", BROADCAST)
async def test_everything_that_has_an_author_needs_him_registered(type_: str, channel: str, enter: Enter) -> None:
    incognito, jane = await enter(channel), await enter(channel, "jane", front=1)

    await incognito.send(**sample(type_, author="stranger"))
    await jane.send(**sample(type_, author="stranger"))

    expected = "Register your nickname first: nobody may write as 'stranger' here without it."
    assert (await incognito.refusal()).startswith(expected)
    assert (await jane.refusal()).startswith("You are registered as 'jane': you cannot write as 'stranger'.")
    await jane.send(**sample(type_, author="jane"))
    assert (await incognito.until(type=type_))["author"] == "jane"


async def test_nobody_writes_under_the_nickname_of_another(channel: str, enter: Enter) -> None:
    jane, john = await enter(channel, "jane"), await enter(channel, "john", front=1)
    await jane.until(newcomer="john")
    await john.say(author="jane")
    assert (await john.refusal()).startswith("You are registered as 'john': you cannot write as 'jane'.")
    await jane.nothing_before(await jane.say(author="jane"))


async def test_who_was_refused_the_nickname_cannot_write_under_it(channel: str, enter: Enter) -> None:
    jane, impostor = await enter(channel, "jane"), await enter(channel, front=1)
    # Given one who sends a text right behind a newcomer that is going to be refused
    await impostor.send(type="newcomer", newcomer="jane")
    await impostor.say(author="jane")
    # Then both are refused
    assert "already registered" in await impostor.refusal()
    assert "Register your nickname first" in await impostor.refusal()
    await jane.nothing_before(await jane.say(author="jane"))


async def test_a_like_is_signed_too(channel: str, enter: Enter) -> None:
    jane, john = await enter(channel, "jane"), await enter(channel, "john", front=1)
    like = {"type": "like", "liked_author": "jane", "message": words()}
    await john.send(**like, liker_author="jack")
    assert "You are registered as 'john'" in await john.refusal()
    await john.send(**like, liker_author="john")
    assert (await jane.until(type="like"))["liker_author"] == "john"


async def test_who_gave_the_nickname_up_cannot_write_under_it_any_more(channel: str, enter: Enter) -> None:
    jane = await enter(channel, "jane")
    await jane.send(type="exiter", exiter="jane")
    await jane.say(author="jane")
    assert "Register your nickname first" in await jane.refusal()
    # Until it is taken again, by anyone
    other = await enter(channel, "jane", front=1)
    await other.until(text=await other.say(author="jane"))


async def test_a_nickname_that_changes_hands_is_never_two_peoples(channel: str, enter: Enter) -> None:
    """Two connections pass a nickname to and fro as fast as they can, and write under it all the time."""
    # Given what each sends: take it, write, give it up, write once more
    clients = [await enter(channel), await enter(channel, front=1)]
    witness = await enter(channel)
    for number in range(40):
        for index, client in enumerate(clients):
            await client.send(type="newcomer", newcomer="jane")
            await client.say(f"{index} {number}", author="jane")
            await client.send(type="exiter", exiter="jane")
            await client.say(f"{index} {number} too late", author="jane")
    # When all of it has been answered: everything is either published or refused
    for index, client in enumerate(clients):
        await client.send(type="newcomer", newcomer=f"last-{index}")
        await client.say(f"last {index}", author=f"last-{index}")
        await witness.until(text=f"last {index}")
    # Then between a newcomer and its exiter all texts are of one of them, and there are none elsewhere
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


async def test_reading_along_and_what_has_no_author_needs_no_nickname(channel: str, enter: Enter) -> None:
    reader, jane = await enter(channel), await enter(channel, "jane", front=1)
    await reader.until(text=await jane.say(author="jane"))


async def test_over_http_nobody_is_registered(channel: str, rest: Rest) -> None:
    answer = await rest.put_text(channel, {"author": "a-bot", "text": words()})
    assert answer.code == 403
    assert "only registered nicknames may write" in json.loads(answer.body)["detail"]
    assert await rest.last(channel) == []


async def test_a_bot_with_the_token_of_a_private_channel_writes_but_not_as_somebody_who_is_there(
    enter: Enter, rest: Rest
) -> None:
    jane = await enter(PRIVATE, "jane", query=f"?token={TOKEN}")
    path = channel_path(PRIVATE, "text") + f"?token={TOKEN}"

    wrong = await rest.fetch(path, "PUT", json.dumps({"author": "jane", "text": words()}))
    right = await rest.fetch(path, "PUT", json.dumps({"author": "a-bot", "text": (text := words())}))

    assert (wrong.code, right.code) == (403, 200)
    assert json.loads(wrong.body) == {"detail": "This nickname is registered by somebody else."}
    await jane.nothing_before(text)
