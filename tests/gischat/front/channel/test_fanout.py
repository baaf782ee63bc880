"""The fan-out: every client gets the same bytes as from separate writes, whatever the state of its socket."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from gischat.broker.entries import Outcome, Publication
from gischat.front.channel.fanout import AT_ONCE, BROKEN, Fanout, Send
from gischat.front.close_status import SHUTTING_DOWN
from gischat.front.connection.event_stream import EventEncoder
from gischat.front.transport.frames import CLOSE, PIECE_BYTES, TEXT, text_frame
from tests.gischat.front.fakes import FRONT, FakeMember, publication, said
from tests.gischat.front.scene import Scene, Start
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("io_loop")

PONG = b"\x8a\x00"
SIZES = [0, 1, 125, 126, 1000, 20_000, 65_535, 65_536]


@dataclass(eq=False)
class Scripted:
    """A listener whose socket does what the test decides."""

    send_now: Send
    is_ready: bool = True
    is_event_stream: bool = False
    written: list[bytes] = field(default_factory=list)
    rest: list[int] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def finish_write(self, data: bytes, sent: int) -> None:
        self.rest.append(sent)


def failing(error: OSError) -> Send:
    def send(_: bytes) -> int:
        raise error

    return send


# The calls to listeners


async def test_large_data_is_queued_for_some_in_a_turn_and_each_gets_all_in_order() -> None:
    audience, people = Fanout(), [Scripted(len) for _ in range(3 * AT_ONCE)]
    for one in people:
        one.send_now = lambda data, to=one: to.written.append(data) or len(data)  # type: ignore[misc, func-returns-value]
        audience.add(one)
    layers, text = [bytes(PIECE_BYTES + 1), bytes(PIECE_BYTES + 2)], b"a text"
    audience.send(layers[0])
    assert [len(one.written) for one in people] == [1] * AT_ONCE + [0] * 2 * AT_ONCE
    audience.send(layers[1])
    audience.send(text)
    *staying, closing, leaving = people
    audience.discard(leaving)
    audience.catch_up(closing)
    assert closing.written == [*layers, text]
    assert len(audience) == len(people) - 1
    while staying[-1].written != [*layers, text]:
        before = sum(len(one.written) for one in people)
        await asyncio.sleep(0)
        assert before < sum(len(one.written) for one in people) <= before + 3 * AT_ONCE
    await asyncio.sleep(0)
    audience.send(text)
    assert {tuple(one.written) for one in [*staying, closing]} == {(*layers, text, text)}
    assert leaving.written == []


@pytest.mark.parametrize(
    ("send", "rest"),
    [
        (len, []),
        (lambda data: 3, [3]),
        (lambda data: 0, [0]),
        (failing(BlockingIOError()), [0]),
        (failing(ConnectionResetError()), [BROKEN]),
        (failing(OSError(9, "closed")), [BROKEN]),
    ],
)
def test_only_a_listener_with_a_partial_write_is_asked_to_continue(send: Send, rest: list[int]) -> None:
    audience, listener, other = Fanout(), Scripted(send), Scripted(lambda data: len(data))
    audience.add(listener)
    audience.add(other)
    audience.send(b"hello")
    assert (listener.rest, listener.written) == (rest, [])
    assert (other.rest, other.written) == ([], [])


def test_a_listener_that_is_not_ready_writes_itself_and_is_kept_once() -> None:
    sent: list[bytes] = []
    listener = Scripted(lambda data: sent.append(data) or len(data))  # type: ignore[func-returns-value]
    audience = Fanout()
    audience.update(listener)  # which does not add it
    assert len(audience) == 0
    audience.add(listener)
    for number, is_ready in enumerate([True, False, False, True]):
        listener.is_ready = is_ready
        audience.update(listener)
        assert len(audience) == 1
        audience.send(b"%d" % number)
    assert (sent, listener.written) == ([b"0", b"3"], [b"1", b"2"])


@pytest.mark.parametrize("is_ready", [True, False])
def test_a_removed_listener_receives_nothing(is_ready: bool) -> None:
    audience, listener = Fanout(), Scripted(failing(AssertionError()), is_ready)  # type: ignore[arg-type]
    audience.add(listener)
    audience.discard(listener)
    audience.discard(listener)
    audience.send(b"hello")
    assert (len(audience), listener.written) == (0, [])


def test_an_audience_may_change_while_it_is_sent_to() -> None:
    """A listener with a partial write changes its state, and one that is too slow may be removed at once."""
    audience = Fanout()
    for _ in range(10):
        listener = Scripted(lambda data: 1)
        listener.finish_write = lambda data, sent, gone=listener: audience.discard(gone)  # type: ignore[method-assign]
        audience.add(listener)
    audience.send(b"hello")
    assert len(audience) == 0


# Over real sockets


@pytest.mark.parametrize("seed", range(4))
async def test_every_client_gets_the_bytes_of_separate_writes(start: Start, seed: int) -> None:
    # Given three clients that read at random times
    chance = random.Random(seed)
    people = [start(max_unread=10**7) for _ in range(3)]
    audience = together(people)
    expected = [b"", b"", b""]
    # When frames of all sizes are sent to all, and Tornado's own between them to one
    for number, size in enumerate(chance.choices(SIZES, weights=[1, 3, 3, 3, 5, 2, 1, 1], k=60)):
        frame = text_frame(bytes([65 + number % 26]) * size)
        audience.send(frame)
        expected = [sent + frame for sent in expected]
        if chance.random() < 0.3:
            one = chance.randrange(3)
            people[one].write_as_tornado(PONG)
            expected[one] += PONG
        if chance.random() < 0.3:
            chance.choice(people).client.receive_now()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    # Then each gets all of them whole and in order
    for scene, sent in zip(people, expected, strict=True):
        assert await scene.client.receive(len(sent)) == sent


async def test_a_client_gets_the_answer_to_its_handshake_first(start: Start) -> None:
    # Given a connection that is added while the stream has pending data
    answer = b"HTTP/1.1 101 Switching Protocols\r\n" + b"x" * 1_000_000
    scene = start(before=answer)
    assert not scene.connection.is_ready
    # When a frame is sent
    frame = text_frame(b"hello")
    together([scene]).send(frame)
    assert await scene.client.receive(len(answer) + len(frame)) == answer + frame
    await until(lambda: scene.connection.is_ready)


def together(people: list[Scene]) -> Fanout:
    """Add all of them to one room's fan-out."""
    audience = people[0].room.fanout
    for scene in people:
        scene.connection._fanout = audience
        audience.add(scene.connection)
    return audience


async def test_a_layer_is_converted_once_for_all_readers_of_events() -> None:
    encoder, audience, converted = EventEncoder(), Fanout(), list[bytes]()
    for number in range(3 * AT_ONCE):
        reader = Scripted(cast("Send", number), is_event_stream=True)
        reader.write = lambda data: converted.append(encoder.encode(data))  # type: ignore[method-assign]
        audience.add(reader)
    audience.send(text_frame(b'{"type":"geojson","id":"%b"}' % (b"x" * PIECE_BYTES)))
    while len(converted) < 3 * AT_ONCE:
        await asyncio.sleep(0)
    assert len({id(events) for events in converted}) == 1


def like_of(connection: int) -> Publication:
    return publication(2, said("like", type="like"), type="like", outcome=Outcome.DONE, to=f"{FRONT}/{connection}")


ONE_IS_SENT: dict[str, Callable[[Scene], None]] = {
    "a refusal": lambda scene: scene.connection.receive("no JSON"),
    "a like": lambda scene: scene.room.deliver([like_of(scene.connection.id)]),
    "a notice": lambda scene: scene.room.skip_to(2),
    "a goodbye": lambda scene: scene.connection.close(*SHUTTING_DOWN),
    "a failure": lambda scene: scene.connection.fail(1002, "A frame is not masked."),
}


@pytest.mark.parametrize("send", ONE_IS_SENT.values(), ids=ONE_IS_SENT)
async def test_what_goes_to_one_client_follows_a_layer_before_it(start: Start, send: Callable[[Scene], None]) -> None:
    """A client that reconnects after the last message it has would lose a layer that this one has overtaken."""
    # Given a client whose turn to be sent a layer comes after others'
    last = start(max_unread=10**7)
    for number in range(AT_ONCE):
        last.room.fanout.add(FakeMember(number))
    last.room.connections[last.connection.id] = last.connection
    last.room.fanout.add(last.connection)
    layer = said("x" * PIECE_BYTES)
    last.room.deliver([publication(1, layer)])
    assert not last.stream.writing()
    # When it alone is sent something
    send(last)
    # Then it receives the layer first
    assert await last.client.receive(len(text_frame(layer))) == text_frame(layer)
    assert (await last.client.receive(1))[0] in (TEXT, CLOSE)
