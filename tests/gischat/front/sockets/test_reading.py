"""What a client sends is read as it was sent, however the network cuts it; what is not complete counts."""

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tornado.iostream import IOStream
from tornado.websocket import _WebSocketParams
from websockets.frames import Frame, Opcode

from gischat import metrics
from gischat.front.sockets import reading
from gischat.front.sockets.drops import Drops
from gischat.front.sockets.memory import Memory
from gischat.front.sockets.reading import CHUNK_BYTES, ReadAhead
from gischat.metrics import Gathered
from tests.gischat.front.fakes import frames_in

DEADLINE = 20.0  # seconds; only a test that fails waits that long
SIZES = (0, 1, 125, 126, 65_535, 65_536, 300_000, 2)
MOST = 2**20


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT, fin: bool = True, *, mask: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=mask)


def text(size: int) -> bytes:
    return bytes(ord("a") + number * 31 % 26 for number in range(size))


class Scene:
    """A websocket at the server's end of a socket, and what it has heard; the test holds the other end."""

    def __init__(self, memory: Memory, large_one: asyncio.Lock) -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.client = theirs
        self.heard: list[str] = []
        self.on_message: Callable[[str], None] = self.heard.append
        self.pings = 0
        self.memory = memory
        handler = SimpleNamespace(
            on_message=lambda message: self.on_message(message),
            on_ping=self._ping,
            on_ws_connection_close=lambda *_: self._ended(),
            log_exception=lambda _, error, __: self.faults.append(error),
        )
        self.faults: list[BaseException] = []
        self.counted = Gathered(metrics.RECEIVED_BYTES.labels("QGIS"))
        self.protocol: Any = ReadAhead(
            cast(Any, handler),
            _WebSocketParams(max_message_size=MOST),
            received=self.counted,
            memory=memory,
            large_one=large_one,
        )
        self.protocol.stream = self.stream = IOStream(ours)
        self.has_ended = asyncio.Event()
        self._beginning = asyncio.create_task(self.protocol._receive_frame_loop())

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(DEADLINE):
            await asyncio.get_running_loop().sock_sendall(self.client, data)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not holds():
                await asyncio.sleep(0.001)

    async def received(self) -> bytes:
        """All that the server sends until it closes the connection."""
        received = b""
        async with asyncio.timeout(DEADLINE):
            while data := await asyncio.get_running_loop().sock_recv(self.client, 2**16):
                received += data
        return received

    def _ping(self, _: bytes) -> None:
        self.pings += 1

    def _ended(self) -> None:
        self.protocol.on_connection_close()  # as Tornado's handler does
        self.has_ended.set()


@asynccontextmanager
async def scenes(number: int = 1, most_bytes: int = 2**30) -> AsyncIterator[list[Scene]]:
    memory = Memory(most_bytes, Drops())
    large_one = asyncio.Lock()
    made = [Scene(memory, large_one) for _ in range(number)]
    try:
        yield made
    finally:
        for scene in made:
            scene.client.close()
        await asyncio.gather(*(scene.has_ended.wait() for scene in made))
        # Then nothing is held for anybody any more
        assert memory.used == 0
        assert memory._held == {}


@pytest.mark.parametrize("step", [97, 1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 10**6])
async def test_the_same_messages_are_read_whatever_the_pieces_in_which_they_come(step: int) -> None:
    async with scenes() as (scene,):
        # Given messages of all sizes, one of them cut, with pings between its pieces
        messages = [text(size) for size in SIZES]
        cut = text(250_000)
        sent = b"".join(map(frame, messages)) + b"".join(fragments(cut, 70_000))
        # When they come in pieces
        for at in range(0, len(sent), step):
            await scene.send(sent[at : at + step])
        # Then each is heard whole, in order, and nothing is held any more
        await scene.until(lambda: len(scene.heard) == len(messages) + 1)
        assert scene.heard == [message.decode() for message in [*messages, cut]]
        assert scene.pings == 4
        assert scene.protocol._ahead == b""
        assert scene.protocol._wire_bytes_in == scene.counted.total == len(sent)
        assert scene.memory.used == 0


def fragments(payload: bytes, size: int) -> Iterable[bytes]:
    """The frames of a message that is cut, each followed by a ping (RFC 6455 §5.4)."""
    for at in range(0, len(payload), size):
        is_last = at + size >= len(payload)
        yield frame(payload[at : at + size], Opcode.CONT if at else Opcode.TEXT, is_last)
        yield frame(b"", Opcode.PING)


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.PING, Opcode.CLOSE])
async def test_a_frame_that_is_not_masked_closes_the_connection(opcode: Opcode) -> None:
    async with scenes() as (scene,):
        await scene.send(frame(b"", opcode, mask=False))
        (goodbye,) = frames_in(await scene.received())
        assert goodbye.data[:2] == struct.pack("!H", 1002)
        assert scene.heard == []
        assert scene.pings == 0


async def test_who_goes_in_the_middle_of_a_message_leaves_nothing_behind() -> None:
    async with scenes(3) as (early, late, between):
        await early.send(frame(text(500_000))[:3])
        await late.send(frame(text(500_000))[:400_000])
        await between.send(frame(text(200_000), fin=False))
        await early.until(lambda: early.memory.used == 1 + (400_000 - 14) + 200_000)


async def test_what_is_not_complete_is_counted_as_it_comes() -> None:
    async with scenes() as (scene,):
        # Given a message that is announced long, and begun
        whole = frame(text(900_000))
        await scene.send(whole[:10])
        await scene.send(whole[10:300_000])
        # Then what has come counts, and not what was announced
        await scene.until(lambda: scene.memory.used == 300_000 - 14)
        # And when it is complete, nothing does
        await scene.send(whole[300_000:])
        await scene.until(lambda: len(scene.heard) == 1)
        assert scene.memory.used == 0


async def test_pieces_of_a_message_are_counted_until_the_last_has_come_whole() -> None:
    async with scenes() as (scene,):
        for number in range(5):
            await scene.send(frame(text(1000), Opcode.CONT if number else Opcode.TEXT, fin=False))
        last = frame(text(1000), Opcode.CONT)
        await scene.send(last[:-1])
        await scene.until(lambda: scene.memory.used == 5000 + 999)
        await scene.send(last[-1:])
        await scene.until(lambda: len(scene.heard) == 1)
        assert scene.memory.used == 0


async def test_a_message_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_FRAGMENTS", 50)
    async with scenes() as (scene,):
        await scene.send(frame(b"", fin=False))
        for _ in range(50):
            await scene.send(frame(b"", Opcode.CONT, fin=False))
        (goodbye,) = frames_in(await scene.received())
        assert goodbye.data == struct.pack("!H", 1008) + b"The message is in too many pieces."


async def test_when_memory_is_full_those_go_who_have_most_of_it() -> None:
    # Given one who is in the middle of a message
    async with scenes(5, most_bytes=2_000_000) as (honest, *greedy):
        message = frame(text(300_000))
        await honest.send(message[:200_000])
        # When others hold back the ends of larger ones
        for scene in greedy:
            await scene.send(frame(text(900_000))[:850_000])
        # Then as many of them are cut off as must be, and he can go on
        await honest.until(lambda: sum(scene.has_ended.is_set() for scene in greedy) == 2)
        await honest.send(message[200_000:])
        await honest.until(lambda: len(honest.heard) == 1)
        assert sum(scene.has_ended.is_set() for scene in greedy) == 2


async def test_large_frames_that_come_together_leave_a_turn_of_the_loop_to_others() -> None:
    async with scenes(3) as made:
        # Given three connections, each with a large frame that has come nearly whole
        events: list[str] = []
        message = frame(text(CHUNK_BYTES + 1))
        for scene in made:
            scene.on_message = lambda _: events.append("large")
            await scene.send(message[:-1])
        await made[0].until(lambda: made[0].memory.used == 3 * CHUNK_BYTES)

        async def others() -> None:
            while events.count("large") < len(made):
                events.append("other")
                await asyncio.sleep(0)

        # When all come to their end at once, while others want the loop too
        for scene in made:
            scene.client.send(message[-1:])
        await others()
        # Then no large frame follows another without one of theirs in between
        assert ("large", "large") not in itertools.pairwise(events)


async def test_after_our_goodbye_a_flood_is_not_read_to_its_end() -> None:
    async with scenes() as (scene,):
        # Given a client that is told goodbye, and goes on
        scene.protocol.close(1008, "Bye.")
        await scene.send(frame(b"{}") * (reading.LAST_FRAMES + 50))
        # Then some of it is read, for its own goodbye might follow, and then no more
        await scene.until(lambda: scene.protocol._last_frames > reading.LAST_FRAMES)
        assert len(scene.heard) == reading.LAST_FRAMES
        assert not scene.has_ended.is_set()
        # And when the socket is closed, that is the end
        scene.stream.close()
        await scene.until(scene.has_ended.is_set)
        assert len(scene.heard) == reading.LAST_FRAMES


async def test_a_goodbye_that_answers_ours_is_read_behind_what_was_on_its_way() -> None:
    async with scenes() as (scene,):
        scene.protocol.close(1008, "Bye.")
        await scene.send(frame(b"{}") * (reading.LAST_FRAMES - 1) + frame(struct.pack("!H", 1008), Opcode.CLOSE))
        await scene.until(scene.has_ended.is_set)
        assert scene.protocol.client_terminated


async def test_what_tornado_writes_and_the_socket_does_not_take_is_waited_for_by_who_passes_the_stream_by() -> None:
    async with scenes() as (scene,):
        waited_for: list[asyncio.Future[None]] = []
        scene.protocol.outlet = SimpleNamespace(wait_for=waited_for.append)
        # Given a pong that went out at once: nobody needs to wait
        await scene.send(frame(b"", Opcode.PING))
        await scene.until(lambda: scene.pings == 1)
        assert waited_for == []
        # When a socket is full, and another ping comes
        while not scene.stream.writing():
            scene.stream.write(b"x" * 2**16)
        await scene.send(frame(b"2", Opcode.PING))
        await scene.until(lambda: bool(waited_for))
        assert not waited_for[0].done()
        # Then that is until the client has read what stands before it
        reading = asyncio.create_task(scene.received())
        await scene.until(waited_for[0].done)
        scene.stream.close()
        assert (await reading).endswith(b"x\x8a\x012")


async def test_a_fault_of_ours_in_reading_is_logged_and_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scenes() as (scene,):
        fault = ZeroDivisionError("a bug of ours")
        monkeypatch.setattr(ReadAhead, "_follow", lambda *_: (_ for _ in ()).throw(fault))
        await scene.send(frame(b"{}"))
        assert await scene.received() == b""
        await scene.until(lambda: scene.faults == [fault])
