"""The fan-out: everyone gets the bytes that the plain way would send, whatever state their sockets are in."""

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from gischat.front.channel.fanout import BROKEN, Fanout, Send
from gischat.front.transport.frames import text_frame
from tests.gischat.front.fakes import frames_in
from tests.gischat.front.scene import Scene, Start, close_frame
from tests.support.waiting import DEADLINE, until

pytestmark = pytest.mark.usefixtures("io_loop")

PONG = b"\x8a\x00"
SIZES = [0, 1, 125, 126, 1000, 20_000, 65_535, 65_536]


@dataclass(eq=False)
class Scripted:
    """A listener whose socket does what the test says."""

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


# Who is asked what


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
def test_only_who_does_not_take_all_at_once_is_asked_to_go_on(send: Send, rest: list[int]) -> None:
    audience, listener, other = Fanout(), Scripted(send), Scripted(lambda data: len(data))
    audience.add(listener)
    audience.add(other)
    audience.send(b"hello")
    assert (listener.rest, listener.written) == (rest, [])
    assert (other.rest, other.written) == ([], [])


def test_who_is_not_ready_is_written_to_in_its_own_way() -> None:
    audience, listener = Fanout(), Scripted(failing(AssertionError()), is_ready=False)  # type: ignore[arg-type]
    audience.add(listener)
    audience.send(b"hello")
    assert listener.written == [b"hello"]


def test_who_becomes_ready_or_is_no_longer_changes_places_and_is_there_once() -> None:
    sent: list[bytes] = []
    listener = Scripted(lambda data: sent.append(data) or len(data))  # type: ignore[func-returns-value]
    audience = Fanout()
    audience.add(listener)
    for number, is_ready in enumerate([True, False, False, True]):
        listener.is_ready = is_ready
        audience.update(listener)
        assert len(audience) == 1
        audience.send(b"%d" % number)
    assert (sent, listener.written) == ([b"0", b"3"], [b"1", b"2"])


def test_who_is_not_in_the_audience_does_not_come_in_by_becoming_ready() -> None:
    audience, listener = Fanout(), Scripted(len)
    audience.update(listener)
    assert len(audience) == 0


@pytest.mark.parametrize("is_ready", [True, False])
def test_who_was_let_go_hears_nothing_more(is_ready: bool) -> None:
    audience, listener = Fanout(), Scripted(failing(AssertionError()), is_ready)  # type: ignore[arg-type]
    audience.add(listener)
    audience.discard(listener)
    audience.discard(listener)
    audience.send(b"hello")
    assert (len(audience), listener.written) == (0, [])


def test_an_audience_may_change_while_it_is_sent_to() -> None:
    """Who does not take all moves to the others, and who is too slow may be gone at once."""
    audience = Fanout()
    listeners = [Scripted(lambda data: 1) for _ in range(10)]
    for listener in listeners:
        listener.finish_write = lambda data, sent, gone=listener: audience.discard(gone)  # type: ignore[method-assign]
        audience.add(listener)
    audience.send(b"hello")
    assert len(audience) == 0


# The same bytes, over real sockets


@pytest.mark.parametrize("seed", range(10))
async def test_everyone_gets_the_bytes_that_the_plain_way_sends(start: Start, seed: int) -> None:
    # Given three who read when they like, and one who is written to by the stream alone
    chance = random.Random(seed)
    people = [start(max_unread=10**7) for _ in range(3)]
    audience = together(people)
    plain = start(max_unread=10**7)
    expected = [b"", b"", b""]
    frames: list[bytes] = []
    # When frames of all sizes go out to all, and between them Tornado's own to one
    for number, size in enumerate(chance.choices(SIZES, weights=[1, 3, 3, 3, 5, 2, 1, 1], k=60)):
        frame = text_frame(bytes([65 + number % 26]) * size)
        audience.send(frame)
        plain.stream.write(frame)
        frames.append(frame)
        expected = [sent + frame for sent in expected]
        if chance.random() < 0.3:
            one = chance.randrange(3)
            people[one].write_as_tornado(PONG)
            expected[one] += PONG
        if chance.random() < 0.3:
            chance.choice(people).client.receive_now()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    # Then each gets whole frames, in order, and those of the plain way
    for scene, sent in zip(people, expected, strict=True):
        assert await scene.client.receive(len(sent)) == sent
    said = b"".join(frames)
    assert await plain.client.receive(len(said)) == said


async def test_who_does_not_read_delays_nobody_and_gets_all_when_it_does(start: Start) -> None:
    # Given one whose socket is full, and one who reads
    full, reader = start(), start()
    audience = together([full, reader])
    before = full.fill()
    frame = text_frame(b"hello")
    # When something is said
    for _ in range(20):
        audience.send(frame)
        assert await reader.client.receive(len(frame)) == frame
    # Then the first gets it behind what had waited, and is sent to straight again
    assert not full.connection.is_ready
    assert await full.client.receive(len(before) + 20 * len(frame)) == before + 20 * frame
    await until(lambda: full.connection.is_ready)
    full.stream.write = None  # type: ignore[method-assign, assignment]  # it is not needed any more
    audience.send(frame)
    assert await full.client.receive(len(frame)) == frame


async def test_who_closes_in_the_middle_harms_nobody(start: Start) -> None:
    people = [start() for _ in range(5)]
    audience = together(people)
    people[1].client.reset()
    people[3].stream.close()
    for number in range(50):
        frame = text_frame(b"%d" % number * 100)
        audience.send(frame)
        for scene in people[::2]:
            assert await scene.client.receive(len(frame)) == frame
    await until(people[1].stream.closed)


async def test_after_a_goodbye_nothing_follows(start: Start) -> None:
    staying, leaving = start(), start()
    audience = together([staying, leaving])
    leaving.connection.close(1008, "Go away.")
    frame = text_frame(b"hello")
    audience.send(frame)
    assert await staying.client.receive(len(frame)) == frame
    leaving.stream.close()
    received = await leaving.client.receive_all()
    assert len(frames_in(received)) == 2
    assert received.endswith(close_frame(1008, "Go away."))


async def test_who_is_too_slow_is_closed_and_the_others_are_not(start: Start) -> None:
    slow, reader = start(), start()
    audience = together([slow, reader])
    frame = text_frame(b"x" * 50_000)
    for _ in range(20):
        audience.send(frame)
        assert await reader.client.receive(len(frame)) == frame
    await asyncio.wait_for(slow.closed.wait(), DEADLINE)
    assert ([code for code, _ in slow.closed_with], reader.closed_with) == ([1008], [])


async def test_who_still_waits_for_the_answer_to_its_handshake_gets_that_first(start: Start) -> None:
    # Given a connection that begins while the stream has something to write
    answer = b"HTTP/1.1 101 Switching Protocols\r\n" + b"x" * 1_000_000
    scene = start(before=answer)
    assert not scene.connection.is_ready
    # When something is said
    frame = text_frame(b"hello")
    together([scene]).send(frame)
    assert await scene.client.receive(len(answer) + len(frame)) == answer + frame
    await until(lambda: scene.connection.is_ready)


def together(people: list[Scene]) -> Fanout:
    """All of them in one room's audience."""
    audience = people[0].audience
    for scene in people:
        scene.connection._fanout = audience
        audience.add(scene.connection)
    return audience
