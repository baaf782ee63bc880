"""One client's connection: what it sends is answered in words, what it is sent arrives whole and in order.

tests/wire has what clients see of it, tests/attacks has floods; test_fanout.py compares the bytes over real sockets.
"""

import asyncio
import math
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tornado.iostream import IOStream

from gischat.broker.entries import LEAVE, RESTORE, Outcome
from gischat.errors import RefusalReason
from gischat.front.close_status import SHUTTING_DOWN, SLOW_CLIENT, SLOW_UPLOAD
from gischat.front.transport.frames import PING, text_frame
from gischat.observability.metrics import CloseReason
from gischat.protocol.messages import uncompliant
from gischat.protocol.parsing import MessageParser
from tests.gischat.front.fakes import CHANNEL, ENQUEUED, FULL, frames_in
from tests.gischat.front.scene import MAX_UNREAD, Client, Scene, Start, close_frame
from tests.support.contract import CANARY, check, sample
from tests.support.waiting import DEADLINE, until

LONG = 60.0  # seconds for the answer to a ping
KERNEL_BUFFERS = 150_000  # more than both ends' hold, which grow a little while they are written to

pytestmark = pytest.mark.usefixtures("io_loop")


# Writing


async def test_what_the_socket_does_not_take_at_once_follows_when_it_does(start: Start) -> None:
    # Given a client whose socket is full
    scene = start()
    written = scene.fill()
    # When more is written, and then it reads
    for size in (1, 126, 70_000, 0, 5):
        frame = text_frame(b"y" * size)
        scene.connection.write(frame)
        written += frame
    # Then all arrives in order, and later frames are written directly again
    assert await scene.client.receive(len(written)) == written
    await until(lambda: scene.connection.is_ready)
    frame = text_frame(b"again")
    scene.connection.write(frame)
    assert not scene.stream.writing()
    assert await scene.client.receive(len(frame)) == frame


async def test_what_is_larger_than_the_bound_fits_who_has_read_all_however_lately(start: Start) -> None:
    scene, gone_out = start(max_unread=1000), asyncio.get_running_loop().create_future()
    small, large = text_frame(b"small"), text_frame(b"x" * 1_000_000)
    # Given something that has gone out, and has not been said to
    scene.connection.wait_drained(gone_out)
    gone_out.set_result(None)
    # When something large comes before it is said of what came behind
    asyncio.get_running_loop().call_soon(scene.connection.write, large)
    scene.connection.write(small)
    # Then that is no reason to cut it off, let alone in the midst of a frame
    assert await scene.client.receive(len(small + large)) == small + large


async def test_for_the_sake_of_a_small_rest_nothing_large_is_kept(start: Start) -> None:
    """It counts as small for the bound of the front's memory, too."""
    scene = start()
    before = scene.fill()
    large = text_frame(b"x" * 1_000_000)
    holders = sys.getrefcount(large)
    scene.connection.finish_write(large, len(large) - 100)
    assert sys.getrefcount(large) == holders
    assert await scene.client.receive(len(before) + 100) == before + b"x" * 100


# Pings


async def test_the_first_ping_counts_until_any_bytes_come(start: Start) -> None:
    scene = start()
    assert not scene.connection.awaiting_pong
    for _ in range(2):
        scene.connection.ping()
        assert await scene.client.receive(2) == PING
        assert not scene.connection.pong_overdue(LONG)
        assert scene.is_silent_after(LONG)
        # When another ping is sent, then the first still counts
        scene.connection.ping()
        assert scene.connection.pong_overdue(LONG)
        assert await scene.client.receive(2) == PING
        # Until any bytes come, be they of something else
        scene.receive_something()
        assert not scene.connection.awaiting_pong
        assert not scene.connection.pong_overdue(0)


async def test_one_who_takes_nothing_is_not_kept_alive_by_what_he_is_sent(start: Start) -> None:
    scene = start(max_unread=10**8)
    scene.connection.ping()
    large = text_frame(b"x" * 100_000)
    for _ in range(3):  # the socket's buffers are full behind the first
        await until(lambda: scene.is_silent_after(LONG))
        scene.connection.write(large)
    assert scene.is_silent_after(LONG)


async def test_a_ping_before_a_history_is_timed_behind_it(start: Start) -> None:
    """A slow link takes the history for longer than an answer may take."""
    # Given somebody who was pinged before his history came
    scene = start()
    scene.connection.ping()
    assert scene.is_silent_after(LONG)
    # When it is sent
    history = text_frame(b"x" * 1_000_000)
    scene.connection.write(history)
    assert not scene.connection.pong_overdue(LONG)
    # Then he has time as long as he takes some of it, and a while after
    left = len(PING + history)
    while left > 500_000:
        await until(lambda: scene.is_silent_after(LONG))
        left -= len(await scene.client.receive(100_000))
        await until(lambda: not scene.connection.pong_overdue(LONG))
    # And no longer when he takes nothing any more
    await until(lambda: scene.is_silent_after(LONG))


async def test_who_has_read_a_ping_and_does_not_answer_is_silent_whatever_else_it_reads(start: Start) -> None:
    scene = start()
    before = len(scene.fill())
    scene.connection.ping()
    await scene.client.receive(before + len(PING))
    scene.connection.send(b"more")
    await scene.client.receive(len(text_frame(b"more")))
    await until(lambda: scene.is_silent_after(LONG))


# A client that does not read


async def test_what_a_slow_client_gets_before_the_goodbye_is_whole_and_within_the_bound(start: Start) -> None:
    # Given a client that does not read, and as much waiting for it as may, so that not even a goodbye would fit
    scene = start()
    scene.fill()
    for size in [50_000] * (MAX_UNREAD // 50_000 - 1) + [40] * 10_000:
        scene.connection.write(text_frame(b"x" * size))
    await asyncio.wait_for(scene.closed.wait(), DEADLINE)
    scene.connection.write(text_frame(b"too late"))
    # When it reads after all, what is left
    received = await everything(scene)
    # Then frames are whole, the last is the goodbye, said once, and no more had waited than might
    ((code, reason),) = scene.closed_with
    assert code == 1008
    *frames, told, _ = frames_in(received)
    assert b"too late" not in [frame.data for frame in frames]
    assert msgspec.json.decode(told.data)["reason"] == SLOW_CLIENT.user_message
    assert received.endswith(close_frame(code, reason))
    assert len(received) < MAX_UNREAD + KERNEL_BUFFERS


async def test_a_message_beyond_the_bound_goes_to_who_has_read_all_and_makes_no_room_for_a_second(
    start: Start,
) -> None:
    scene = start()
    frame = text_frame(b"x" * (5 * MAX_UNREAD))
    for _ in range(2):
        scene.connection.write(frame)
        assert await scene.client.receive(len(frame)) == frame
    assert scene.closed_with == []
    for _ in range(2):
        scene.connection.write(frame)
    await asyncio.wait_for(scene.closed.wait(), DEADLINE)
    assert [code for code, _ in scene.closed_with] == [1008]


async def test_the_bound_holds_however_the_socket_became_full(start: Start) -> None:
    """A ping of Tornado's goes through the stream: it may be what the socket does not take first."""
    scene = start()
    while not scene.stream.writing():
        scene.write_as_tornado(bytes([0x89, 0]) * 100)
    for _ in range(20):
        scene.connection.write(text_frame(b"x" * 50_000))
    await asyncio.wait_for(scene.closed.wait(), DEADLINE)
    assert [code for code, _ in scene.closed_with] == [1008]


# The last frames


async def test_nothing_follows_the_answer_to_a_clients_close_frame(start: Start) -> None:
    # Given a client that closes while the answer to its close frame waits behind what it has not read
    scene = start()
    written = scene.fill()
    scene.connection.stop_writing()
    scene.write_as_tornado(close_frame(1000, ""))
    # When the front stops, then the close frame stays the last
    scene.connection.close(*SHUTTING_DOWN)
    assert await everything(scene) == written + close_frame(1000, "")
    assert scene.closed_with == []


async def test_nothing_follows_a_goodbye(start: Start) -> None:
    """RFC 6455 §5.5.1: no data frame after a close frame, though the room may write until the client has gone."""
    scene = start()
    scene.connection.write(text_frame(b"hello"))
    scene.connection.close(*SHUTTING_DOWN)
    scene.connection.write(text_frame(b"too late"))
    scene.connection.send(b"too late")
    scene.connection.close(1008, "Another goodbye.")
    scene.stream.close()
    hello, told, closing = frames_in(await scene.client.receive_all())
    assert hello.data == b"hello"
    check(body := msgspec.json.decode(told.data))
    assert (body["type"], body["reason"]) == ("uncompliant", SHUTTING_DOWN.user_message)
    assert closing.data == close_frame(1001, SHUTTING_DOWN.reason)[2:]
    assert scene.connection.close_status == (1001, SHUTTING_DOWN.reason)


async def test_who_breaks_the_protocol_gets_nothing_but_a_close_frame(start: Start) -> None:
    scene = start()
    scene.connection.fail(1002, "Unknown opcode.")
    scene.connection.send(b"too late")
    scene.stream.close()
    assert await scene.client.receive_all() == close_frame(1002, "Unknown opcode.")
    assert scene.rejections.counts == {CloseReason.PROTOCOL_ERROR: 1}


async def everything(scene: Scene) -> bytes:
    """All that the client receives when it reads at last; the stream is closed when that is written."""

    async def close_when_written(stream: IOStream) -> None:
        await until(lambda: not stream.writing())
        stream.close()

    received, _ = await asyncio.gather(scene.client.receive_all(), close_when_written(scene.stream))
    return received


@pytest.mark.parametrize("goes", [Client.close, Client.reset])
@pytest.mark.parametrize("is_full", [False, True])
async def test_writing_to_a_client_that_has_gone_raises_nothing(
    start: Start, goes: Callable[[Client], None], is_full: bool
) -> None:
    # Given a client that goes away, maybe with much unread
    scene = start()
    if is_full:
        scene.fill()
    goes(scene.client)
    # When it is written to until the server has noticed, and after that
    async with asyncio.timeout(DEADLINE):
        while not scene.stream.closed():
            scene.connection.write(text_frame(b"x" * 10))
            await asyncio.sleep(0)
    scene.connection.send(b"too late")
    scene.connection.ping()
    # Then nothing is raised, and nothing is said of it being slow or silent
    assert not scene.connection.awaiting_pong
    assert scene.closed_with == []


async def test_who_takes_too_much_of_the_memory_of_all_is_cut_off(start: Start) -> None:
    scene = start(max_front_bytes=200_000, max_unread=10**9)
    scene.fill()
    scene.connection.write(text_frame(b"x" * 300_000))
    with pytest.raises(ConnectionResetError):
        await scene.client.receive_all()
    assert scene.stream.closed()
    assert scene.rejections.counts == {CloseReason.MEMORY: 1}
    assert scene.memory.used == 0


# Receiving


def say(scene: Scene, type_: str, **changes: Any) -> None:
    scene.connection.receive(msgspec.json.encode(sample(type_, **changes)).decode())


async def test_messages_that_are_not_admitted_are_refused_and_cost_no_others(start: Start) -> None:
    scene = start(max_waiting_messages=1)
    for number in range(3):
        say(scene, "text", text=str(number))
    assert "waiting" in await scene.client.refusal()
    scene.connection.is_draining = True
    say(scene, "text")
    assert "restart" in await scene.client.refusal()
    for _ in range(2):
        scene.end()
    assert [job["text"] for job in scene.jobs()] == ["0", "1"]


async def test_a_fault_of_ours_is_answered_and_logged_without_the_words(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    scene = start()
    monkeypatch.setattr(MessageParser, "parse", fail)
    say(scene, "text")
    assert await scene.client.refusal()
    assert "a bug of ours" in caplog.text
    assert CANARY not in caplog.text
    assert scene.closed_with == []


async def test_images_and_layers_have_a_rate_of_their_own(start: Start) -> None:
    scene = start(max_heavy_per_minute=1)
    for type_ in ("image", "geojson", "text"):
        say(scene, type_)
    assert "too many images and layers" in await scene.client.refusal()
    assert scene.rejections.counts == {RefusalReason.HEAVY_RATE_LIMIT: 1}
    scene.end()
    assert [job.type for job in scene.broker.jobs] == ["image", "text"]


async def test_fragments_of_a_message_that_are_too_many_are_refused_in_words(start: Start) -> None:
    scene = start(max_messages_per_minute=2)
    assert scene.connection.on_control_frame(answer=True)
    assert scene.connection.on_control_frame(answer=True)
    assert not scene.connection.on_control_frame(answer=True)
    assert "too fast" in await scene.client.refusal()
    assert not scene.connection.on_control_frame(), "which is told once"
    scene.stream.close()
    assert await scene.client.receive_all() == b""


async def test_what_is_too_large_counts_as_what_it_is_worth(start: Start) -> None:
    scene = start(max_messages_per_minute=100)
    scene.connection.receive_dropped(100 * 2**17, 2**17)
    scene.connection.receive("{}")
    assert "MB" in await scene.client.refusal()
    assert "too fast" in await scene.client.refusal()


async def test_who_makes_no_progress_with_a_message_is_told_what_to_do(start: Start) -> None:
    scene = start()
    scene.connection.close_slow_upload()
    assert await scene.client.refusal() == SLOW_UPLOAD.user_message
    assert scene.closed_with == [SLOW_UPLOAD[:2]]
    assert scene.rejections.counts == {CloseReason.SLOW_UPLOAD: 1}


# Nicknames


def registered(start: Start, nickname: str = "jane") -> Scene:
    scene = start()
    say(scene, "newcomer", newcomer=nickname)
    scene.end()
    assert scene.connection.nickname == nickname
    return scene


def newcomers(scene: Scene) -> list[str]:
    return [job["newcomer"] for job in scene.jobs() if job["type"] == "newcomer"]


async def test_a_nickname_that_redis_has_lost_is_told_again_before_what_its_client_says_next(start: Start) -> None:
    # Given a client of whose messages one is on its way and two wait
    scene = registered(start)
    for text in ("on its way", "next", "then"):
        say(scene, "text", text=text)
    said = len(scene.jobs())
    # When Redis has lost the nickname, and what was on its way
    scene.dispatcher.replay(CHANNEL, since=math.inf)
    scene.connection.restore_nickname()
    for _ in range(3):
        scene.end()
    assert [job.get("text", job["type"]) for job in scene.jobs()[said:]] == ["on its way", RESTORE, "next", "then"]


async def test_a_nickname_that_was_given_up_is_not_told_again(start: Start) -> None:
    scene = registered(start)
    say(scene, "exiter", exiter="jane")
    scene.connection.restore_nickname()
    scene.end()
    assert [job["type"] for job in scene.jobs()] == ["newcomer", "exiter"]


async def test_a_nickname_is_told_again_until_redis_has_it_or_somebody_else(start: Start) -> None:
    scene = registered(start)
    scene.broker.answers = False
    scene.connection.restore_nickname()
    for number in (1, 2):
        await until(lambda: [job["type"] for job in scene.jobs()].count(RESTORE) == number)  # noqa: B023 - awaited here
        scene.broker.enqueued[-1].answer(FULL)
    await until(lambda: [job["type"] for job in scene.jobs()].count(RESTORE) == 3)
    assert scene.connection.nickname == "jane"
    # When somebody has taken it meanwhile, then it is lost in words
    scene.end(Outcome.REFUSED, uncompliant("Taken."))
    assert await scene.client.refusal() == "Taken."
    assert scene.connection.nickname is None


async def test_a_newcomer_that_comes_too_fast_is_not_forgotten(start: Start) -> None:
    scene = start(max_messages_per_minute=1)
    say(scene, "text")
    scene.end()
    say(scene, "newcomer", newcomer="jane")
    assert "too fast" in await scene.client.refusal()
    await until(lambda: newcomers(scene) == ["jane"])


async def test_a_nickname_that_could_not_be_asked_for_is_asked_for_until_it_is_known(start: Start) -> None:
    """Redis was away, or had too much to do; clients say their newcomer once."""
    scene = start()
    scene.broker.answers = False
    say(scene, "newcomer", newcomer="jane")
    # When it is refused for what passes, its client is told so once
    scene.broker.enqueued[-1].answer(FULL)
    assert "again later" in await scene.client.refusal()
    # And it is asked for again, however often that takes
    for number in (2, 3, 4):
        await until(lambda: len(newcomers(scene)) == number)  # noqa: B023 - it is awaited here
        scene.broker.enqueued[-1].answer(FULL if number < 4 else ENQUEUED)
    await asyncio.sleep(0)
    scene.end()
    assert (scene.connection.nickname, scene.connection.nickname_request.nickname) == ("jane", None)
    # … by the same message each time: a client knows its newcomer by its id
    assert newcomers(scene) == ["jane"] * 4
    assert len({job["id"] for job in scene.jobs()}) == 1


async def test_a_nickname_that_is_asked_for_earlier_is_asked_for_once(start: Start) -> None:
    """Publications were missed while it waits to ask again: the grant may be among them."""
    scene = start()
    scene.broker.answers = False
    say(scene, "newcomer", newcomer="jane")
    scene.broker.enqueued[-1].answer(FULL)
    await scene.client.refusal()
    scene.broker.answers = True
    scene.connection.retry_nickname()
    marker = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, marker.set)  # later than what it would ask then
    await marker.wait()
    scene.end()
    assert newcomers(scene) == ["jane", "jane"]


async def test_ones_own_nickname_in_another_case_stays_as_it_is(start: Start) -> None:
    scene = registered(start, "Jane")
    say(scene, "newcomer", newcomer="JANE")
    scene.end(Outcome.DONE, b"")
    assert (scene.connection.nickname, scene.connection.nickname_request.nickname) == ("Jane", None)
    say(scene, "exiter", exiter="jane")
    scene.end()
    assert scene.connection.nickname is None


async def test_a_nickname_is_given_up_to_one_who_waits_and_waited_for_in_turn(start: Start) -> None:
    scene = registered(start)
    scene.connection.yield_nickname()
    assert scene.jobs()[-1]["exiter"] == "jane"
    scene.end()
    assert (scene.connection.nickname, scene.connection.nickname_request.nickname) == (None, "jane")
    assert "'jane' has gone to somebody who asked for it" in await scene.client.refusal()
    # But not before anything is heard of it: two who are both gone would pass it to and fro
    assert newcomers(scene) == ["jane"]
    scene.receive_something()
    await until(lambda: newcomers(scene) == ["jane", "jane"])


async def test_what_was_sent_before_the_end_is_published_and_then_the_nickname_given_up(start: Start) -> None:
    # Given a client that registers, talks, and goes at once
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    say(scene, "text")
    scene.connection.on_socket_closed()
    scene.end()
    # When the workers come to it while the inbox is full
    scene.broker.answers = False
    scene.end()
    for answer in (FULL, FULL, ENQUEUED):
        await until(lambda: not scene.broker.enqueued[-1].taken.done())
        scene.broker.enqueued[-1].answer(answer)
    scene.end()
    # Then all was told in order, and giving up the nickname was tried until it was taken
    assert [job["type"] for job in scene.jobs()] == ["newcomer", "text", *[LEAVE] * 3]
    assert scene.dispatcher.are_idle
