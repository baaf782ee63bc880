"""The Python client against real processes: normal use, deaths of fronts, refusals."""

import asyncio
import contextlib
from typing import Any
from urllib.parse import quote

import pytest

from gischat.client import (
    Chat,
    ChatError,
    ExiterMessage,
    Gap,
    LikeMessage,
    LivePositionMessage,
    Refused,
    TextMessage,
    Unreachable,
    connect,
    messages,
)
from gischat.client.inbox import CUT_OFF, MISSED, Inbox
from gischat.front.channel import join_buffer, room
from tests.clients.conftest import SECRET
from tests.support.admin import Admin
from tests.support.contract import BROADCAST, KEYS, REPLYABLE, words
from tests.support.processes import HOST, ROOT, Stack
from tests.support.proxy import Proxy, everyone
from tests.support.waiting import DEADLINE

NOBODY = "5d5b2c7e-58a5-4a0f-9a7a-6a53f1b1b6c1"  # an id that no message has


def enter(stack: Stack, channel: str, nickname: str | None = None, **options: Any) -> Chat:
    return connect(stack.fronts[0].url, channel, nickname=nickname, **options)


async def texts(chat: Chat, until: str) -> list[str]:
    """The texts that a chat yields, up to the given one."""
    found: list[str] = []
    async with asyncio.timeout(DEADLINE):
        async for message in chat:
            assert not isinstance(message, Gap)
            if isinstance(message, TextMessage):
                found.append(message.text)
            if found[-1:] == [until]:
                break
    return found


async def first(chat: Chat, kind: type[Any]) -> Any:
    async with asyncio.timeout(DEADLINE):
        return await anext(message async for message in chat if isinstance(message, kind))


def test_its_messages_are_those_of_the_protocol() -> None:
    kinds = {kind.__struct_config__.tag: kind for kind in messages._Known.__args__}
    assert {*BROADCAST, "newcomer", "exiter", "like", "live_position", "nb_users", "uncompliant"} == set(kinds)
    for name, kind in kinds.items():
        replies = {"in_reply_to_id"} if name in REPLYABLE else set()
        assert {*kind.__struct_fields__} == {"id", "timestamp"} | KEYS[name] | replies


def test_unknown_types_and_keys_are_accepted() -> None:
    head = '"id": "8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11", "timestamp": 1'
    new = messages.parse(f'{{"type": "reaction", {head}, "emoji": "👍"}}')
    assert isinstance(new, messages.OtherMessage)
    assert (new.type, new.content["emoji"]) == ("reaction", "👍")
    assert messages.parse(f'{{"type": "nb_users", {head}, "nb_users": 2, "more": 1}}').type == "nb_users"


def test_it_recognizes_the_servers_texts_about_gaps() -> None:
    assert (MISSED, CUT_OFF) == (join_buffer.MISSED, room.GAP)


async def test_send_returns_the_published_message_and_others_receive_it(stack: Stack) -> None:
    channel = "Été à la mer"
    # The address ends in a slash, as people enter it
    url = f"{stack.fronts[0].url}/"
    async with connect(url, channel, nickname="jane") as jane, connect(url, channel, nickname="john") as john:
        echo = await jane.send_text(text := words())
        answer = await john.send_text(words(), reply_to=echo.id)
        await jane.like("john", "well said")

        assert await first(john, TextMessage) == echo
        assert await first(john, TextMessage) == answer
        assert (await first(john, LikeMessage)).message == "well said"
        assert await texts(jane, answer.text) == [text, answer.text]
        assert answer.in_reply_to_id == echo.id
        assert jane.position == answer.id


async def test_a_live_position_and_its_end_are_received(stack: Stack, channel: str) -> None:
    async with (
        enter(stack, channel, "jane") as jane,
        enter(stack, channel, history=False, types=["live_position"]) as john,
    ):
        await jane.send_live_position(2.35, 48.85, accuracy=12)
        shared = await first(john, LivePositionMessage)
        assert (shared.author, shared.x, shared.until) == ("jane", 2.35, shared.timestamp + 900)
        await jane.send_live_position(2.35, 48.85, seconds=0)
        ended = await first(john, LivePositionMessage)
        assert (ended.id, ended.until) == (shared.id, ended.timestamp)


async def test_nothing_is_lost_or_duplicated_when_the_front_is_killed_or_restarted(stack: Stack, channel: str) -> None:
    """One listener has no nickname; jane must wait until the server notices the end of her old connection."""
    front, said = stack.fronts[0], [words() for _ in range(30)]
    async with (
        enter(stack, channel, "talker") as talker,
        enter(stack, channel, "jane") as jane,
        enter(stack, channel) as listener,
    ):
        for number, text in enumerate(said):
            if number in (10, 20):
                sending = asyncio.create_task(talker.send_text(text))
                await (asyncio.to_thread(front.kill) if number == 10 else front.stopped())
                await asyncio.to_thread(front.start)
                await sending
            else:
                await talker.send_text(text)
        for chat in (talker, jane, listener):
            assert await texts(chat, said[-1]) == said


async def test_a_message_with_a_lost_echo_is_published_once_and_confirmed(stack: Stack, channel: str) -> None:
    async with (
        Proxy(stack.fronts[0].port) as proxy,
        connect(f"http://{HOST}:{proxy.port}", channel, nickname="talker") as talker,
        enter(stack, channel) as listener,
    ):
        said = [(await talker.send_text(words())).text]
        assert await texts(listener, said[0]) == said
        for _ in range(2):
            proxy.swallow(to_client=everyone)
            sending = asyncio.create_task(talker.send_text(text := words()))
            assert await texts(listener, text) == [text]
            proxy.cut()
            proxy.heal()
            said.append((await sending).text)
        assert await texts(talker, said[-1]) == said
        end = await talker.send_text(words())
        assert await texts(listener, end.text) == [end.text]


async def test_messages_beyond_max_unread_bytes_are_fetched_later(stack: Stack, channel: str) -> None:
    async with enter(stack, channel, "talker", max_unread_bytes=5000) as talker:
        said = [(await talker.send_text(words())).text for _ in range(40)]
        assert talker._inbox._bytes <= 5000
        assert await texts(talker, said[-1]) == said


async def test_another_process_can_resume_at_its_position(stack: Stack, channel: str) -> None:
    async with enter(stack, channel, "talker") as talker:
        said = [(await talker.send_text(words())).text for _ in range(4)]
        assert await texts(talker, said[1]) == said[:2]
        position = talker.position
        async with enter(stack, channel, after=position) as later:
            assert await texts(later, said[-1]) == said[2:]
        async with enter(stack, channel, after=NOBODY) as lost:
            assert isinstance(await anext(lost), Gap)
            assert await texts(lost, said[-1]) == said
        async with enter(stack, channel, history=False) as fresh:
            said.append((await talker.send_text(words())).text)
            assert await texts(fresh, said[-1]) == said[-1:]


async def test_a_timeout_of_send_does_not_affect_the_next_message(stack: Stack, channel: str) -> None:
    async with enter(stack, channel, "talker") as talker:
        stack.light[0].freeze()
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await talker.send("text", author="no", text="refused")
            sending = asyncio.create_task(talker.send_text(text := words()))
        finally:
            stack.light[0].wake()
        assert (await sending).text == text


REFUSED: list[tuple[str, str | None, str, type[ChatError], str]] = [
    ("nowhere", None, "", Refused, "Channel 'nowhere' does not exist. Choose another one."),
    ("Secret", None, "", Refused, "Channel 'Secret' is private"),
    ("Door", "taken", "", Refused, "User 'taken' already registered in channel Door"),
    ("Door", "no!", "", Refused, "no '!'"),
    ("Door", None, "/no/such/path", Unreachable, "404"),
]


async def test_refused_connections_raise_the_reason(stack: Stack) -> None:
    async with enter(stack, "Door", "taken"):
        for channel, nickname, path, kind, told in REFUSED:
            with pytest.raises(kind) as raised:
                async with connect(stack.fronts[0].url + path, channel, nickname=nickname):
                    pass
            assert told in str(raised.value)
    async with enter(stack, "Secret", "jane", token=SECRET) as chat:
        await chat.send_text(words())


async def test_an_unreachable_server_raises_at_once() -> None:
    with pytest.raises(Unreachable):
        async with connect("http://127.0.0.1:9", "QGIS"):
            pass
    with pytest.raises(ValueError, match="no address"):
        connect("chat.example.org", "QGIS")


@pytest.mark.parametrize(
    "answer",
    [
        b'401 No\r\nContent-Length: 14\r\n\r\n{"detail":"\xff"}',
        b"401 No\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000,
        b"101 Yes\r\nUpgrade: h2\r\n\r\n",
        b"\xff",
    ],
)
async def test_invalid_handshakes_raise_instead_of_waiting_for_ever(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as server, asyncio.timeout(DEADLINE):
        with pytest.raises(ChatError):
            async with connect(f"http://{HOST}:{server.sockets[0].getsockname()[1]}", "QGIS"):
                pass


async def test_send_raises_refusals(stack: Stack, channel: str) -> None:
    admin, path = Admin(stack.fronts[0].url), f"channels/{quote(channel)}"
    async with enter(stack, channel, "jane") as chat:
        with pytest.raises(Refused, match="at most 255"):
            await chat.send_text("x" * 256)
        await admin.act("PUT", f"{path}/freeze")
        with pytest.raises(Refused, match="frozen"):
            await chat.send_text(words())
        await admin.act("DELETE", f"{path}/freeze")
        await chat.send_text(words())
        # A kicked client gets the error in place of the next message, after all received ones
        await admin.act("DELETE", f"{path}/users/jane?reason=Enough.")
        with pytest.raises(Refused, match="Enough"):
            await texts(chat, "")
        with pytest.raises(Refused, match="Enough"):
            await chat.send_text(words())
    admin.close()


async def test_leaving_sends_an_exiter_and_ends_the_iteration(stack: Stack, channel: str) -> None:
    async with enter(stack, channel) as witness:
        async with enter(stack, channel, "jane") as jane:
            pass
        assert [message.type async for message in jane if not isinstance(message, Gap)][-1:] == ["newcomer"]
        assert (await first(witness, ExiterMessage)).exiter == "jane"


async def test_the_documented_example_runs(stack: Stack, channel: str) -> None:
    page = (ROOT / "docs/python-client.md").read_text("utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    example = example.replace("https://chat.example.org", stack.fronts[0].url).replace('"QGIS"', f'"{channel}"')
    program: dict[str, Any] = {"__name__": "example"}
    exec(example, program)
    async with enter(stack, channel, "jane") as jane:
        await jane.send_text("!echo from before")
        running = asyncio.create_task(program["main"]())
        assert await texts(jane, "I repeat what follows !echo") == ["!echo from before", "I repeat what follows !echo"]
        question = await jane.send_text("!echo hello")
        await first(jane, TextMessage)
        answer = await first(jane, TextMessage)
        assert (answer.text, answer.author, answer.in_reply_to_id) == ("hello", "echo-bot", question.id)
        await jane.send_text("!stop")
        await running


# Gaps


def message(id: str, type: str = "text") -> Any:
    if type == "nb_users":
        return messages.NbUsersMessage(id=id, timestamp=1, nb_users=1)
    if type == "uncompliant":
        return messages.UncompliantMessage(id=id, timestamp=1, reason=MISSED)
    return TextMessage(id=id, timestamp=1, author="jane", text=id)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (["b", "c", "d"], ["c", "d"]),  # begins with a known message: no gap
        (["c", "d"], ["gap", "c", "d"]),
        ([], ["gap"]),
    ],
)
async def test_a_gap_is_reported_only_if_messages_may_be_missing(history: list[str], expected: list[str]) -> None:
    inbox = Inbox(10_000, None, with_history=True)
    for one in (message("a"), message("b"), message("n1", "nb_users")):
        inbox.put(one, 10)
        await inbox.get()
    inbox.begin()
    for one in (message("u", "uncompliant"), *map(message, history), message("n2", "nb_users")):
        inbox.put(one, 10)
    inbox.end(None)
    came = []
    with contextlib.suppress(StopAsyncIteration):
        while True:
            one = await inbox.get()
            came.append("gap" if isinstance(one, Gap) else one.id)
    assert came == [*expected, "n2"]
