"""What a client sends is read as it was sent, however the network cuts it; what is not complete counts."""

import asyncio
import itertools
import socket
import string
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tornado.websocket import _WebSocketParams
from websockets.frames import Frame, Opcode

from gischat.front.limits.admission import Admission
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.transport import websocket_protocol
from gischat.front.transport.client_stream import ClientStream
from gischat.front.transport.frames import close_frame, text_frame
from gischat.front.transport.read_scheduler import TURN_WORK, ReadScheduler
from gischat.front.transport.upload_watch import UploadWatch
from gischat.front.transport.websocket_protocol import CHUNK_BYTES, FRAGMENTS, BufferedWebSocketProtocol
from gischat.observability import metrics
from gischat.observability.metrics import BufferedCounter
from gischat.protocol.long_text import LongText
from gischat.timings import Timings
from tests.gischat.front.fakes import frames_in
from tests.support.settings import settings
from tests.support.waiting import DEADLINE, until

SIZES = (0, 1, 125, 126, 65_535, 65_536, 300_000, 2)
MOST = 5 * 2**20


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT, fin: bool = True, *, mask: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=mask)


def text(size: int) -> bytes:
    return (string.ascii_lowercase.encode() * (size // 26 + 1))[:size]


class Scene:
    """A websocket at the server's end of a socket, and what its endpoint has heard; the test holds the other end."""

    def __init__(
        self, admission: Admission, turns: ReadScheduler, uploads: UploadWatch, address: str, timings: Timings
    ) -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.client = theirs
        self.heard: list[str] = []
        self.on_message: Callable[[str], None] = self.heard.append
        self.paced: list[bool] = []  # for each that was, whether an answer was wanted
        self.is_within_rates = True
        self.admission = admission
        self.unadmitted: list[int] = []
        self.uploads = uploads
        self.last_received_at = 0.0
        self.has_stopped = False
        self.read_pause = 0.0
        handler = SimpleNamespace(
            on_ws_connection_close=lambda *_: self._ended(),
            log_exception=lambda _, error, __: self.faults.append(error),
        )
        self.faults: list[BaseException] = []
        self.counted = BufferedCounter(metrics.RECEIVED_BYTES.labels("QGIS"))
        self.protocol: Any = BufferedWebSocketProtocol(
            cast(Any, handler),
            _WebSocketParams(max_message_size=MOST),
            address_key=address,
            received=self.counted,
            admission=admission,
            turns=turns,
            uploads=uploads,
            timings=timings,
        )
        self.protocol.stream = self.stream = ClientStream(ours)
        self.protocol.endpoint = self
        self.has_ended = asyncio.Event()
        self._beginning = asyncio.create_task(self.protocol._receive_frame_loop())

    # As an endpoint

    def receive(self, message: str | LongText) -> None:
        self.on_message(message.whole() if isinstance(message, LongText) else message)

    def on_control_frame(self, *, answer: bool = False) -> bool:
        self.paced.append(answer)
        return self.is_within_rates

    def write(self, data: bytes) -> None:
        self.stream.write(data)

    def receive_dropped(self, size: int) -> None:
        self.unadmitted.append(size)

    def close_slow_upload(self) -> None:
        self.protocol.close(1008, "Too slow.")

    def close_for_memory(self) -> None:
        self.protocol.close(1013, "Full.")

    def stop_writing(self) -> None:
        self.has_stopped = True

    def fail(self, code: int, reason: str) -> None:
        self.protocol.close(code, reason)

    # As a test

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(DEADLINE):
            await asyncio.get_running_loop().sock_sendall(self.client, data)

    async def received(self) -> bytes:
        """All that the server sends until it closes the connection."""
        received = b""
        async with asyncio.timeout(DEADLINE):
            while data := await asyncio.get_running_loop().sock_recv(self.client, 2**16):
                received += data
        return received

    def _ended(self) -> None:
        self.protocol.on_connection_close()  # as Tornado's handler does
        self.has_ended.set()


@asynccontextmanager
async def scenes(number: int = 1, most_bytes: int = 2**30, timings: Timings = Timings()) -> AsyncIterator[list[Scene]]:
    """So many connections, each from an address of its own."""
    admission = Admission(settings(max_front_bytes=most_bytes), RejectionLog())
    turns, uploads = ReadScheduler(), UploadWatch()
    made = [Scene(admission, turns, uploads, one, timings) for one in map(str, range(number))]
    try:
        yield made
    finally:
        for scene in made:
            scene.client.close()
        await asyncio.gather(*(scene.has_ended.wait() for scene in made))
        # Then nothing is held for anybody any more
        assert admission.used == 0
        assert admission._reading == {}
        assert uploads._windows == {}


@pytest.mark.parametrize("step", [997, CHUNK_BYTES + 1])
async def test_the_same_messages_are_read_whatever_the_pieces_in_which_they_come(step: int) -> None:
    async with scenes() as (scene,):
        # Given messages of all sizes, and one in fragments, with a ping between them
        messages = [text(size) for size in SIZES]
        first, rest = text(70_000), text(180_000)
        in_fragments = frame(first, fin=False) + frame(b"", Opcode.PING) + frame(rest, Opcode.CONT)
        sent = b"".join(map(frame, messages)) + in_fragments
        # When they come in pieces
        for at in range(0, len(sent), step):
            await scene.send(sent[at : at + step])
        # Then each is heard whole, in order, and nothing is held any more
        await until(lambda: len(scene.heard) == len(messages) + 1 and len(scene.paced) == 1)
        assert scene.heard == [message.decode() for message in [*messages, first + rest]]
        assert scene.protocol.bytes_in == scene.counted.total == len(sent)
        assert scene.last_received_at  # every byte is a sign of life
        await until(lambda: scene.admission.used == 0)


WRONG = {"an unknown opcode": (b"\x83\x80abcd", 1002), "half a close code": (frame(b"\x03", Opcode.CLOSE), 1002)}


@pytest.mark.parametrize("more", [b"", b"x" * 1_000_000], ids=["silent", "goes on"])
@pytest.mark.parametrize(("sent", "code"), WRONG.values(), ids=WRONG)
async def test_who_breaks_the_protocol_gets_a_close_frame_and_nothing_else(sent: bytes, code: int, more: bytes) -> None:
    """Also who goes on sending: a reset, for bytes that were not read, could take it from him."""
    async with scenes() as (scene,):
        await scene.send(frame(b"before") + sent + more)
        (closing,) = frames_in(await scene.received())
        assert (closing.opcode, closing.data[:2]) == (Opcode.CLOSE, struct.pack("!H", code))
        assert scene.heard == ["before"]
        scene.client.close()
        await until(scene.has_ended.is_set)
        assert scene.faults == []


async def test_who_goes_in_the_middle_of_a_message_leaves_nothing_behind() -> None:
    async with scenes(3) as (early, late, between):
        await early.send(frame(text(500_000))[:3])
        await late.send(frame(text(500_000))[:400_000])
        await between.send(frame(text(200_000), fin=False))
        await until(lambda: early.admission.used == 3 + (400_000 - 14) + 200_000)


async def test_a_message_whose_fragments_are_too_many_is_dropped_and_that_is_told_once() -> None:
    async with scenes() as (scene,):
        scene.is_within_rates = False
        await scene.send(frame(b"x", fin=False) + frame(b"x", Opcode.CONT, fin=False) * (5 * FRAGMENTS))
        await until(lambda: len(scene.paced) == 5)
        assert scene.paced == [True, False, False, False, False]
        assert scene.admission.used == 0
        # And the next one is heard
        await scene.send(frame(b"x", Opcode.CONT) + frame(b"next"))
        await until(lambda: bool(scene.heard))
        assert scene.heard == ["next"]


async def test_who_sends_much_at_once_leaves_the_turns_of_the_loop_to_others() -> None:
    async with scenes(4) as (honest, *floods):
        events: list[str] = []
        flood = frame(b"", Opcode.PING) * 3000
        for scene in floods:
            scene.on_control_frame = lambda **_: events.append("ping") or True  # type: ignore[method-assign, func-returns-value]
            scene.write = lambda _: None  # type: ignore[method-assign]

        async def others() -> None:
            while events.count("ping") < 3 * 3000:
                events.append("turn")
                await asyncio.sleep(0)

        # When three send thousands of frames at once, and then somebody a text
        for scene in floods:
            scene.client.send(flood)
        honest.client.send(frame(b"hello"))
        honest.on_message = lambda _: events.append("text")
        await others()
        # Then a turn has its bound of work for who begins and for who has waited, and who says little waits for no more
        in_turns = [len(list(group)) for kind, group in itertools.groupby(events) if kind == "ping"]
        assert max(in_turns) <= 2 * TURN_WORK
        assert events[: events.index("text")].count("ping") <= 2 * TURN_WORK


async def test_a_message_that_is_not_complete_is_watched_until_it_is() -> None:
    async with scenes() as (scene,):
        whole = frame(text(5000))
        await scene.send(whole[:3000])
        await until(lambda: scene.protocol in scene.uploads._windows)
        assert scene.protocol.progress == 3000 - 8
        await scene.send(whole[3000:])
        await until(lambda: not scene.uploads._windows)
        # And who makes no progress with one is told so
        await scene.send(whole[:3000])
        await until(lambda: bool(scene.uploads._windows))
        scene.protocol.abort_slow_upload()
        await scene.send(whole[3000:] + frame(struct.pack("!H", 1008), Opcode.CLOSE))
        (closing,) = frames_in(await scene.received())
        assert closing.data == struct.pack("!H", 1008) + b"Too slow."


async def test_a_large_message_that_waits_for_its_turn_is_refused_before_it_is_handled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scenes(2) as (jane, john):
        turn = asyncio.Event()

        async def wait(*_: object) -> None:
            await turn.wait()

        monkeypatch.setattr(jane.protocol._scheduler, "acquire_large", wait)
        for scene in (jane, john):
            await scene.send(frame(text(300_000)) + frame(b"next"))
        await until(lambda: jane.admission.used == 600_000)
        assert jane.protocol.evict() is False
        assert (jane.unadmitted, jane.admission.used) == ([300_000], 300_000)
        turn.set()
        await until(lambda: len(jane.heard) + len(john.heard) == 3)
        assert jane.heard == ["next"]


async def test_who_floods_with_small_messages_that_wait_is_closed_when_memory_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They cannot be dropped: each of them would have to be answered."""
    async with scenes() as (scene,):
        monkeypatch.setattr(scene.protocol._scheduler, "try_acquire", lambda _: False)
        monkeypatch.setattr(scene.protocol._scheduler, "acquire", lambda _: asyncio.Event().wait())
        await scene.send(frame(b"small") * 100)
        await until(lambda: scene.admission.used > 0)
        assert scene.protocol.evict() is True
        (closing,) = frames_in(await asyncio.get_running_loop().sock_recv(scene.client, 2**16))
        assert closing.data == struct.pack("!H", 1013) + b"Full."
        assert (scene.unadmitted, scene.admission.used) == ([], 0)
        scene.protocol._reading.cancel()


async def test_what_was_sent_is_heard_though_its_sender_is_gone_when_its_turn_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scenes() as (scene,):
        scene.stream.set_close_callback(lambda: None)  # as Tornado does, who looks for the end only then

        async def wait(_: str) -> None:
            await until(scene.stream.closed)

        monkeypatch.setattr(scene.protocol._scheduler, "try_acquire", lambda _: False)
        monkeypatch.setattr(scene.protocol._scheduler, "acquire", wait)
        await scene.send(frame(b"one") + frame(b"two"))
        scene.client.close()
        await until(scene.has_ended.is_set)
        assert scene.heard == ["one", "two"]


async def test_after_our_goodbye_a_flood_is_not_read_to_its_end() -> None:
    async with scenes() as (scene,):
        # Given a client that is told goodbye, and goes on
        scene.protocol.close(1008, "Bye.")
        await scene.send(frame(b"{}") * (websocket_protocol.LAST_FRAMES + 50))
        # Then some of it is read, for its own goodbye might follow, and then no more
        await until(lambda: scene.protocol._last_frames == websocket_protocol.LAST_FRAMES)
        await scene.send(frame(struct.pack("!H", 1008), Opcode.CLOSE))
        await asyncio.sleep(0)
        assert not scene.has_ended.is_set()
        # And when the socket is closed, that is the end
        scene.stream.close()
        await until(scene.has_ended.is_set)
        assert scene.heard == []


async def test_a_goodbye_that_answers_ours_is_read_behind_what_was_on_its_way() -> None:
    async with scenes() as (scene,):
        large = frame(text(300_000))
        await scene.send(large[:100_000])
        await until(lambda: scene.admission.used > 90_000)
        scene.protocol.close(1008, "Bye.")
        await scene.send(large[100_000:])
        await scene.send(
            frame(b"{}") * (websocket_protocol.LAST_FRAMES - 2) + frame(struct.pack("!H", 1008), Opcode.CLOSE)
        )
        await until(scene.has_ended.is_set)
        assert scene.protocol.close_code == 1008
        assert scene.heard == []


async def test_who_says_goodbye_first_gets_all_that_was_written_before_and_an_answer() -> None:
    async with scenes() as (scene,):
        said = text_frame(text(5_000_000))
        scene.write(said)
        await scene.send(frame(struct.pack("!H", 1000), Opcode.CLOSE))
        await until(lambda: scene.has_stopped)
        assert await scene.received() == said + close_frame(1000, "")


async def test_who_does_not_answer_our_goodbye_is_not_waited_for_for_ever() -> None:
    async with scenes(timings=Timings(close_answer=0.01)) as (scene,):
        scene.protocol.close(1008, "Bye.")
        await until(scene.has_ended.is_set)


async def test_a_fault_of_ours_in_reading_is_logged_and_ends_the_connection() -> None:
    async with scenes() as (scene,):
        fault = ZeroDivisionError("a bug of ours")
        scene.on_message = lambda _: (_ for _ in ()).throw(fault)
        await scene.send(frame(b"{}"))
        assert await scene.received() == b""
        await until(lambda: scene.faults == [fault])
