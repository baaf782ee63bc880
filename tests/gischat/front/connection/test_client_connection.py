"""One client's connection: what it sends is answered in words, what it is sent arrives whole and in order."""

import asyncio
import contextlib
import math
import random
import struct
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tornado.iostream import IOStream, StreamBufferFullError

from gischat.broker.entries import LEAVE, RESTORE, Outcome
from gischat.errors import RefusalReason
from gischat.front.close_status import MEMORY_FULL, RATE_LIMIT_ABUSE, SHUTTING_DOWN, SLOW_CLIENT, SLOW_UPLOAD
from gischat.front.limits import rate_limit
from gischat.front.limits.admission import SERVER_FULL
from gischat.front.limits.rate_limit import LIMIT_EXCEEDED_REPEATEDLY, REFUSALS_PER_MINUTE
from gischat.front.transport.frames import PING, text_frame
from gischat.observability.metrics import CloseReason, Delay
from gischat.protocol.messages import new_id, uncompliant
from gischat.protocol.parsing import MessageParser
from tests.gischat.front.fakes import CHANNEL, ENQUEUED, FULL, frames_in
from tests.gischat.front.scene import MAX_UNREAD, Client, Scene, Start, close_frame
from tests.support.contract import CANARY, check, sample
from tests.support.waiting import DEADLINE, until

LONG = 60.0  # seconds for the answer to a ping
KERNEL_BUFFERS = 150_000  # more than both ends' hold, which grow a little while they are written to

pytestmark = pytest.mark.usefixtures("io_loop")


# What goes out


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 1_000_000])
async def test_a_message_arrives_as_one_frame(start: Start, size: int) -> None:
    scene = start(max_unread=10)  # the bound is for what waits behind it
    body = b"x" * size
    scene.connection.send(body)
    received = await scene.client.receive(len(text_frame(body)))
    assert [frame.data for frame in frames_in(received)] == [body]


async def test_a_client_that_reads_is_written_to_without_a_detour(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = start()
    monkeypatch.setattr(scene.stream, "write", lambda data: pytest.fail("this costs twice as much"))
    for number in range(200):
        frame = text_frame(b"%d" % number)
        scene.connection.write(frame)
        assert await scene.client.receive(len(frame)) == frame


async def test_what_the_socket_does_not_take_at_once_follows_when_it_does(start: Start) -> None:
    # Given a client whose socket is full
    scene = start()
    written = scene.fill()
    # When more is written, and then it reads
    for size in (1, 126, 70_000, 0, 5):
        frame = text_frame(b"y" * size)
        scene.connection.write(frame)
        written += frame
    # Then all arrives, in order, and the way is straight again
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


async def test_what_is_written_does_not_overtake_what_waits(start: Start) -> None:
    # Given a client whose socket is full, so that something waits in the stream
    scene = start()
    written = scene.fill()
    # When it has read, and more is written before the stream has noticed that there is room
    for number in range(20):
        scene.client.receive_now()
        frame = text_frame(b"%d" % number)
        scene.connection.write(frame)
        written += frame
    # Then it comes behind what waited
    assert await scene.client.receive(len(written)) == written


@pytest.mark.parametrize("seed", range(10))
async def test_the_same_bytes_arrive_as_by_the_streams_own_way(start: Start, seed: int) -> None:
    # Given frames of many sizes, some of them the stream's own, as Tornado's pings are
    chance = random.Random(seed)
    sizes = chance.choices([0, 1, 125, 126, 1000, 20_000, 65_535, 65_536], weights=[1, 3, 3, 3, 5, 2, 1, 1], k=60)
    frames = [text_frame(bytes([65 + number % 26]) * size) for number, size in enumerate(sizes)]
    straight, plain = start(max_unread=10**7), start(max_unread=10**7)
    for frame in frames:
        if chance.random() < 0.2:
            straight.write_as_tornado(frame)
        else:
            straight.connection.write(frame)
        plain.stream.write(frame)
        # … and clients that read now and then
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    size = sum(map(len, frames))
    assert await straight.client.receive(size) == await plain.client.receive(size)


# Pings


async def test_who_answers_a_ping_is_not_silent(start: Start) -> None:
    scene = start()
    assert not scene.connection.awaiting_pong
    scene.connection.ping()
    assert await scene.client.receive(2) == PING
    assert scene.connection.awaiting_pong
    assert not scene.connection.pong_overdue(LONG)
    assert scene.is_silent_after(LONG)
    # When any bytes come, be they of something else
    scene.receive_something()
    assert not scene.connection.awaiting_pong
    assert not scene.connection.pong_overdue(0)


async def test_the_first_ping_that_is_not_answered_counts(start: Start) -> None:
    scene = start()
    scene.connection.ping()
    assert scene.is_silent_after(LONG)
    scene.connection.ping()
    assert scene.connection.pong_overdue(LONG)
    assert await scene.client.receive(4) == PING + PING
    # And after an answer, the next
    scene.receive_something()
    scene.connection.ping()
    assert not scene.connection.pong_overdue(LONG)
    assert scene.is_silent_after(LONG)


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


async def test_who_is_still_reading_what_stands_before_the_ping_is_not_silent(start: Start) -> None:
    # Given a ping that waits behind more than the client's link takes at once
    scene = start()
    before = len(scene.fill())
    scene.connection.ping()
    await until(lambda: scene.is_silent_after(LONG))  # nothing has moved yet
    # When the client takes a part of it
    await scene.client.receive(before // 2)
    # Then it is there
    await until(lambda: not scene.connection.pong_overdue(LONG))


async def test_who_has_read_a_ping_and_does_not_answer_is_silent_whatever_else_it_reads(start: Start) -> None:
    scene = start()
    before = len(scene.fill())
    scene.connection.ping()
    await scene.client.receive(before + len(PING))
    scene.connection.send(b"more")
    await scene.client.receive(len(text_frame(b"more")))
    await until(lambda: scene.is_silent_after(LONG))


async def test_a_ping_for_who_is_gone_hurts_nobody(start: Start) -> None:
    scene = start()
    scene.stream.close()
    scene.connection.ping()
    assert not scene.connection.awaiting_pong


# A client that does not read


async def test_a_client_that_does_not_read_is_closed_once_with_1008(start: Start) -> None:
    # Given a client that does not read
    scene = start()
    scene.fill()
    # When more is written than may wait for it
    for _ in range(20):
        scene.connection.write(text_frame(b"x" * 50_000))
    await asyncio.wait_for(scene.closed.wait(), DEADLINE)
    for _ in range(20):
        scene.connection.write(text_frame(b"x" * 50_000))
        await asyncio.sleep(0)
    # Then it is told once
    assert [code for code, _ in scene.closed_with] == [1008]


async def test_what_a_slow_client_gets_before_the_goodbye_is_whole_and_within_the_bound(start: Start) -> None:
    # Given a client that does not read, and as much waiting for it as may, so that not even a goodbye would fit
    scene = start()
    scene.fill()
    for size in [50_000] * (MAX_UNREAD // 50_000 - 1) + [40] * 10_000:
        scene.connection.write(text_frame(b"x" * size))
    await asyncio.wait_for(scene.closed.wait(), DEADLINE)
    scene.connection.write(text_frame(b"too late"))
    # When it reads after all, what is left
    ending = asyncio.create_task(close_when_written(scene.stream))
    received = await scene.client.receive_all()
    await ending
    # Then frames are whole, the last is the goodbye, and no more had waited than might
    *frames, told, _ = frames_in(received)
    assert b"too late" not in [frame.data for frame in frames]
    assert msgspec.json.decode(told.data)["reason"] == SLOW_CLIENT.user_message
    assert received.endswith(close_frame(*scene.closed_with[0]))
    assert len(received) < MAX_UNREAD + KERNEL_BUFFERS


async def test_a_message_beyond_the_bound_still_goes_to_who_has_read_all(start: Start) -> None:
    scene = start()
    for _ in range(3):
        frame = text_frame(b"x" * (5 * MAX_UNREAD))
        scene.connection.write(frame)
        assert await scene.client.receive(len(frame)) == frame
    assert scene.closed_with == []


async def test_a_message_beyond_the_bound_makes_no_room_for_a_second_one(start: Start) -> None:
    scene = start()
    for _ in range(2):
        scene.connection.write(text_frame(b"x" * (5 * MAX_UNREAD)))
    await asyncio.wait_for(scene.closed.wait(), DEADLINE)
    assert [code for code, _ in scene.closed_with] == [1008]


async def test_the_bound_holds_however_the_socket_became_full(start: Start) -> None:
    """A ping of Tornado's goes through the stream: it may be what the socket does not take first."""
    # Given a client that does not read, whose socket is full of the stream's own frames
    scene = start()
    while not scene.stream.writing():
        scene.write_as_tornado(bytes([0x89, 0]))
    # When more is written than may wait for it
    for _ in range(20):
        scene.connection.write(text_frame(b"x" * 50_000))
    # Then it is closed as any other
    await asyncio.wait_for(scene.closed.wait(), DEADLINE)
    assert [code for code, _ in scene.closed_with] == [1008]


async def test_there_is_always_room_for_a_goodbye(start: Start) -> None:
    """Else a front that stops, and walks through its connections, would stop at the first that is nearly too slow."""
    # Given a client that does not read, for whom exactly as much waits as may
    scene = start()
    scene.fill()
    for size in (2**power for power in reversed(range(20))):
        with contextlib.suppress(StreamBufferFullError):
            scene.stream.write(b"\0" * size)
    # When the server says goodbye
    scene.connection.close(1001, "Bye.")
    # Then it is the last that the client gets, and that it is told before
    ending = asyncio.create_task(close_when_written(scene.stream))
    received = await scene.client.receive_all()
    assert received.endswith(close_frame(1001, "Bye."))
    assert b'"reason":"Bye."' in received[-200:]
    await ending


async def test_nothing_follows_the_answer_to_a_clients_close_frame(start: Start) -> None:
    # Given a client that closes while the answer to its close frame waits behind what it has not read
    scene = start()
    written = scene.fill()
    scene.connection.stop_writing()
    scene.write_as_tornado(close_frame(1000, ""))
    # When the front stops
    scene.connection.close(*SHUTTING_DOWN)
    # Then the close frame stays the last
    ending = asyncio.create_task(close_when_written(scene.stream))
    assert await scene.client.receive_all() == written + close_frame(1000, "")
    assert scene.closed_with == []
    await ending


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


async def test_others_get_theirs_while_one_does_not_read(start: Start) -> None:
    slow, quick = start(), start()
    slow.fill()
    for number in range(100):
        frame = text_frame(b"%d" % number * 1000)
        for scene in (slow, quick):
            scene.connection.write(frame)
        assert await quick.client.receive(len(frame)) == frame
    assert quick.closed_with == []


# A client that goes away


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
    # Then nothing is raised, and nothing is said of it being slow
    scene.connection.write(text_frame(b"too late"))
    scene.connection.send(b"too late")
    assert scene.closed_with == []


async def test_writing_to_a_connection_that_the_server_has_closed_raises_nothing(start: Start) -> None:
    scene = start()
    scene.connection.write(text_frame(b"hello"))
    scene.stream.close()
    scene.connection.write(text_frame(b"too late"))
    assert await scene.client.receive_all() == text_frame(b"hello")


# What comes in


async def test_a_message_goes_on_its_way_completed(start: Start) -> None:
    scene = start()
    given = sample("text")
    scene.connection.receive(msgspec.json.encode(given).decode())
    (job,) = scene.jobs()
    check(job)
    assert job | given == job
    assert (scene.broker.enqueued[0].channel, scene.broker.jobs[0].source.connection) == (
        CHANNEL,
        scene.connection.id,
    )


@pytest.mark.parametrize("frame", ["", "{", "[]", "null", '{"type": "poll"}', '{"type": "text", "author": "jane"}'])
async def test_rubbish_is_answered_in_words_and_goes_nowhere(start: Start, frame: str) -> None:
    scene = start()
    scene.connection.receive(frame)
    assert await scene.client.refusal()
    assert scene.jobs() == []
    assert scene.closed_with == []


async def test_a_binary_frame_is_answered_in_words_even_if_it_holds_a_message(start: Start) -> None:
    scene = start()
    scene.connection.receive(msgspec.json.encode(sample("text")))
    assert "text" in await scene.client.refusal()
    assert scene.jobs() == []


async def test_who_sends_faster_than_is_published_is_told_so_and_loses_nothing_else(start: Start) -> None:
    scene = start(max_waiting_messages=2)
    for number in range(4):
        scene.connection.receive(msgspec.json.encode(sample("text", text=str(number))).decode())
    assert "waiting" in await scene.client.refusal()
    for _ in range(3):
        scene.end()
    assert [job["text"] for job in scene.jobs()] == ["0", "1", "2"]


async def test_a_fault_of_ours_is_answered_and_logged_without_the_words(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    scene = start()
    monkeypatch.setattr(MessageParser, "parse", fail)
    scene.connection.receive(msgspec.json.encode(sample("text")).decode())
    assert await scene.client.refusal()
    assert "a bug of ours" in caplog.text
    assert CANARY not in caplog.text
    assert scene.closed_with == []


async def test_while_a_front_drains_it_takes_no_messages_and_says_so(start: Start) -> None:
    scene = start()
    scene.connection.is_draining = True
    scene.connection.receive(msgspec.json.encode(sample("text")).decode())
    assert "restart" in await scene.client.refusal()
    assert scene.jobs() == []


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.DEAD_LETTERED])
async def test_what_a_worker_refuses_is_told_to_the_sender(start: Start, outcome: Outcome) -> None:
    scene = start()
    scene.connection.receive(msgspec.json.encode(sample("text")).decode())
    scene.end(outcome, uncompliant("No such luck."))
    assert await scene.client.refusal() == "No such luck."


# Nicknames


def say(scene: Scene, type_: str, **changes: Any) -> None:
    scene.connection.receive(msgspec.json.encode(sample(type_, **changes)).decode())


@pytest.mark.parametrize("outcome", [Outcome.PUBLISHED, Outcome.DUPLICATE])
async def test_a_nickname_is_the_clients_when_it_has_been_registered(start: Start, outcome: Outcome) -> None:
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    assert scene.connection.nickname is None
    scene.end(outcome)
    assert scene.connection.nickname == "jane"


async def test_a_nickname_that_is_taken_leaves_the_client_with_the_one_it_had(start: Start) -> None:
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    scene.end()
    say(scene, "newcomer", newcomer="john")
    scene.end(Outcome.REFUSED, uncompliant("Taken."))
    assert scene.connection.nickname == "jane"


@pytest.mark.parametrize(("exiter", "left_with"), [("jane", None), ("john", "jane")])
async def test_an_exiter_gives_up_the_clients_own_nickname_only(
    start: Start, exiter: str, left_with: str | None
) -> None:
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    scene.end()
    say(scene, "exiter", exiter=exiter)
    scene.end()
    assert scene.connection.nickname == left_with


async def test_a_nickname_that_redis_has_lost_is_told_again(start: Start) -> None:
    scene = start()
    scene.connection.restore_nickname()
    assert scene.jobs() == []
    say(scene, "newcomer", newcomer="jane")
    scene.end()
    scene.connection.restore_nickname()
    assert scene.jobs()[-1] == {"type": RESTORE, RESTORE: "jane"}


async def test_a_nickname_that_redis_has_lost_is_told_again_before_what_its_client_says_next(start: Start) -> None:
    # Given a client of whose messages one is on its way and two wait
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    scene.end()
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
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    scene.end()
    say(scene, "exiter", exiter="jane")
    scene.connection.restore_nickname()
    scene.end()
    assert [job["type"] for job in scene.jobs()] == ["newcomer", "exiter"]


async def test_a_nickname_that_somebody_took_meanwhile_is_lost_in_words(start: Start) -> None:
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    scene.end()
    scene.connection.restore_nickname()
    scene.end(Outcome.REFUSED, uncompliant("Taken."))
    assert await scene.client.refusal() == "Taken."
    assert scene.connection.nickname is None


async def test_a_nickname_that_could_not_be_told_again_is_told_until_it_is(start: Start) -> None:
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    scene.end()
    scene.broker.answers = False
    scene.connection.restore_nickname()
    for number in (1, 2):
        await until(lambda: [job["type"] for job in scene.jobs()].count(RESTORE) == number)  # noqa: B023 - awaited here
        scene.broker.enqueued[-1].taken.set_result(FULL)
    await until(lambda: [job["type"] for job in scene.jobs()].count(RESTORE) == 3)
    assert scene.connection.nickname == "jane"


async def test_a_newcomer_that_comes_too_fast_is_not_forgotten(start: Start) -> None:
    scene = start(max_messages_per_minute=1)
    say(scene, "text")
    scene.end()
    say(scene, "newcomer", newcomer="jane")
    assert "too fast" in await scene.client.refusal()
    await until(lambda: newcomers(scene) == ["jane"])


def newcomers(scene: Scene) -> list[str]:
    return [job["newcomer"] for job in scene.jobs() if job["type"] == "newcomer"]


async def test_a_wish_is_granted_later(start: Start) -> None:
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    scene.end(Outcome.REFUSED, uncompliant("Taken."))
    assert (scene.connection.nickname, scene.connection.nickname_request.nickname) == (None, "jane")
    scene.connection.grant_nickname(b'{"type":"newcomer","newcomer":"jane"}')
    assert (scene.connection.nickname, scene.connection.nickname_request.nickname) == ("jane", None)


async def test_a_nickname_that_could_not_be_asked_for_is_asked_for_until_it_is_known(start: Start) -> None:
    """Redis was away, or had too much to do; clients say their newcomer once."""
    scene = start()
    scene.broker.answers = False
    say(scene, "newcomer", newcomer="jane")
    # When it is refused for what passes, its client is told so once
    scene.broker.enqueued[-1].taken.set_result(FULL)
    assert "again later" in await scene.client.refusal()
    # And it is asked for again, however often that takes
    for number in (2, 3, 4):
        await until(lambda: len(newcomers(scene)) == number)  # noqa: B023 - it is awaited here
        scene.broker.enqueued[-1].taken.set_result(FULL if number < 4 else ENQUEUED)
    await asyncio.sleep(0)
    scene.end()
    assert (scene.connection.nickname, scene.connection.nickname_request.nickname) == ("jane", None)
    say(scene, "text")
    assert newcomers(scene) == ["jane"] * 4
    # … by the same message each time: a client knows its newcomer by its id
    assert len({job["id"] for job in scene.jobs() if job["type"] == "newcomer"}) == 1


async def test_a_nickname_that_is_asked_for_earlier_is_asked_for_once(start: Start) -> None:
    """Publications were missed while it waits to ask again: the grant may be among them."""
    scene = start()
    scene.broker.answers = False
    say(scene, "newcomer", newcomer="jane")
    scene.broker.enqueued[-1].taken.set_result(FULL)
    await scene.client.refusal()
    scene.broker.answers = True
    scene.connection.retry_nickname()
    marker = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, marker.set)  # later than what it would ask then
    await marker.wait()
    scene.end()
    assert newcomers(scene) == ["jane", "jane"]


async def test_ones_own_nickname_in_another_case_stays_as_it_is(start: Start) -> None:
    scene = start()
    say(scene, "newcomer", newcomer="Jane")
    scene.end()
    say(scene, "newcomer", newcomer="JANE")
    scene.end(Outcome.DONE, b"")
    assert (scene.connection.nickname, scene.connection.nickname_request.nickname) == ("Jane", None)
    say(scene, "exiter", exiter="jane")
    scene.end()
    assert scene.connection.nickname is None


@pytest.mark.parametrize("ended", [Outcome.REFUSED, Outcome.PUBLISHED])
async def test_one_who_says_exiter_wants_no_nickname_any_more(start: Start, ended: Outcome) -> None:
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    scene.end(Outcome.REFUSED, uncompliant("Taken."))
    say(scene, "exiter", exiter="jane")
    scene.end(ended, uncompliant("Not yours."))
    scene.connection.retry_nickname()
    assert newcomers(scene) == ["jane"]


async def test_a_nickname_is_given_up_to_one_who_waits_and_waited_for_in_turn(start: Start) -> None:
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    scene.end()
    scene.connection.yield_nickname()
    assert scene.jobs()[-1]["exiter"] == "jane"
    scene.end()
    assert (scene.connection.nickname, scene.connection.nickname_request.nickname) == (None, "jane")
    assert "'jane' has gone to somebody who asked for it" in await scene.client.refusal()
    # But not before anything is heard of it: two who are both gone would pass it to and fro
    assert newcomers(scene) == ["jane"]
    scene.receive_something()
    await until(lambda: newcomers(scene) == ["jane", "jane"])


async def test_a_message_that_was_published_before_is_echoed_to_its_sender(start: Start) -> None:
    scene = start()
    say(scene, "text", id=(own := new_id()))
    published = msgspec.json.encode(sample("text", id=own, timestamp=1, avatar=None))
    scene.end(Outcome.DUPLICATE, published)
    assert [message["id"] for message in await scene.client.messages(1)] == [own]


# How it ends


async def test_who_never_named_itself_and_waits_for_nothing_just_leaves(start: Start) -> None:
    scene = start()
    say(scene, "text")
    scene.end()
    scene.connection.on_socket_closed()
    assert scene.left == [scene.connection]
    assert [job["type"] for job in scene.jobs()] == ["text"]
    assert scene.dispatcher.are_idle


async def test_what_was_sent_before_the_end_is_published_and_then_the_nickname_given_up(start: Start) -> None:
    # Given a client that registers, talks, and goes at once
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    say(scene, "text", text="one")
    say(scene, "text", text="two")
    scene.connection.on_socket_closed()
    # When the workers come to it
    for _ in range(4):
        scene.end()
    # Then all was told in order
    assert [job["type"] for job in scene.jobs()] == ["newcomer", "text", "text", LEAVE]
    assert scene.dispatcher.are_idle


async def test_giving_up_a_nickname_is_tried_until_it_is_done(start: Start) -> None:
    # Given a client with a nickname, that goes while the inbox is full
    scene = start()
    say(scene, "newcomer", newcomer="jane")
    scene.end()
    scene.broker.answers = False
    scene.connection.on_socket_closed()
    for answer in (FULL, FULL, FULL, ENQUEUED):
        await until(lambda: not scene.broker.enqueued[-1].taken.done())
        scene.broker.enqueued[-1].taken.set_result(answer)
    scene.end()
    # Then it was tried until it was taken
    assert [job["type"] for job in scene.jobs()] == ["newcomer", *[LEAVE] * 4]
    assert scene.dispatcher.are_idle


# Too often


async def test_what_comes_too_often_is_answered_and_not_sent(start: Start) -> None:
    scene = start(max_messages_per_minute=3)
    # When four come at once, the last of which nobody needs to look into
    for _ in range(3):
        scene.connection.receive(msgspec.json.encode(sample("text")).decode())
    scene.connection.receive("{")
    # Then the last is refused for that alone
    assert (
        await scene.client.refusal() == "You are sending too fast: this message was not sent. Please wait 20 seconds."
    )
    assert scene.rejections.counts == {RefusalReason.RATE_LIMIT: 1}
    assert scene.closed_with == []


async def test_rubbish_counts_as_much_as_what_is_right(start: Start) -> None:
    scene = start(max_messages_per_minute=3)
    for _ in range(4):
        scene.connection.receive("{")
    reasons = [told["reason"] for told in await scene.client.messages(4)]
    assert "too fast" in reasons[3]
    assert not any("too fast" in reason for reason in reasons[:3])


async def test_images_have_a_limit_of_their_own(start: Start) -> None:
    scene = start(max_heavy_per_minute=1)
    for type_ in ("image", "geojson", "text"):
        scene.connection.receive(msgspec.json.encode(sample(type_)).decode())
    assert "too many images and layers" in await scene.client.refusal()
    assert scene.rejections.counts == {RefusalReason.HEAVY_RATE_LIMIT: 1}
    scene.end()
    assert [job.type for job in scene.broker.jobs] == ["image", "text"]


async def test_a_flood_is_answered_up_to_a_number_and_then_closed(start: Start) -> None:
    scene = start(max_messages_per_minute=1)
    # When somebody goes on sending whatever he is told
    for _ in range(5000):
        scene.connection.receive("{}")
    # Then each refusal was told, and at last why it is closed, after which nothing is written
    await scene.closed.wait()
    assert scene.closed_with == [(1008, LIMIT_EXCEEDED_REPEATEDLY)]
    received = await scene.client.receive_all()
    frames = frames_in(received)
    assert len(frames) == 1 + REFUSALS_PER_MINUTE + 2
    assert msgspec.json.decode(frames[-2].data)["reason"] == RATE_LIMIT_ABUSE.user_message
    assert frames[-1].data == struct.pack("!H", 1008) + LIMIT_EXCEEDED_REPEATEDLY.encode()
    assert scene.rejections.counts == {
        RefusalReason.RATE_LIMIT: REFUSALS_PER_MINUTE + 1,
        CloseReason.RATE_LIMIT_ABUSE: 1,
    }
    # And the socket is closed although he did not answer the goodbye
    assert scene.stream.closed()


async def test_who_is_refused_is_read_more_slowly_when_that_is_the_rule_at_its_address(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "ADDRESS_REFUSALS_PER_MINUTE", 3)
    scene = start(max_messages_per_minute=5)
    # Given as many refusals as an address may have, whatever they are for
    scene.connection.receive("{}")
    scene.connection.receive(b"binary")
    scene.connection.receive_dropped(2**25, 2**24)
    assert scene.connection.read_pause == 0
    # When there are more, then each is answered, and makes a pause
    for _ in range(3):
        scene.connection.read_pause = 0.0
        scene.connection.receive("{}")
        assert scene.connection.read_pause == rate_limit.PAUSE_SECONDS
    scene.connection.read_pause = 0.0
    assert not scene.connection.on_control_frame()
    assert scene.connection.read_pause == rate_limit.PAUSE_SECONDS
    assert len(await scene.client.messages(6)) == 6
    assert scene.rejections.counts[Delay.ADDRESS_REFUSALS] == 4
    assert scene.closed_with == []


async def test_pings_without_end_are_closed_as_messages_are(start: Start) -> None:
    scene = start(max_messages_per_minute=10)
    for _ in range(10 + REFUSALS_PER_MINUTE):
        scene.connection.on_control_frame()
    assert scene.closed_with == []
    scene.connection.on_control_frame()
    assert scene.closed_with == [(1008, LIMIT_EXCEEDED_REPEATEDLY)]


async def test_fragments_of_a_message_that_are_too_many_are_refused_in_words(start: Start) -> None:
    scene = start(max_messages_per_minute=2)
    assert scene.connection.on_control_frame(answer=True)
    assert scene.connection.on_control_frame(answer=True)
    assert not scene.connection.on_control_frame(answer=True)
    assert "too fast" in await scene.client.refusal()
    assert not scene.connection.on_control_frame(), "which is told once"
    scene.stream.close()
    assert await scene.client.receive_all() == b""


# What is too large


async def test_what_is_too_large_is_answered_in_megabytes_and_costs_no_connection(start: Start) -> None:
    scene = start()
    scene.connection.receive_dropped(23_100_000, 2**24)
    assert await scene.client.refusal() == (
        "This message has 23.1 MB; at most 16.8 MB can be sent here. It was not sent."
    )
    assert scene.closed_with == []
    assert scene.connection.messages_received == 1


async def test_what_is_too_large_counts_as_what_it_is_worth(start: Start) -> None:
    scene = start(max_messages_per_minute=100)
    scene.connection.receive_dropped(100 * 2**17, 2**17)
    scene.connection.receive("{}")
    reasons = [told["reason"] for told in await scene.client.messages(2)]
    assert "MB" in reasons[0]
    assert "too fast" in reasons[1]


async def test_what_is_not_even_read_closes_the_connection_and_says_so(start: Start) -> None:
    scene = start()
    scene.connection.close_oversized(10**9, 2**24)
    scene.stream.close()
    told, closing = frames_in(await scene.client.receive_all())
    assert "This message has 1000.0 MB; at most 16.8 MB can be sent here." in told.data.decode()
    assert closing.data[:2] == struct.pack("!H", 1009)
    assert scene.rejections.counts == {CloseReason.TOO_LARGE: 1}


async def test_who_makes_no_progress_with_a_message_is_told_what_to_do(start: Start) -> None:
    scene = start()
    scene.connection.close_slow_upload()
    assert await scene.client.refusal() == SLOW_UPLOAD.user_message
    assert scene.closed_with == [SLOW_UPLOAD[:2]]
    assert scene.rejections.counts == {CloseReason.SLOW_UPLOAD: 1}


# Memory


async def test_what_is_not_read_is_counted_and_given_back(start: Start) -> None:
    scene = start()
    scene.fill()
    for _ in range(10):
        scene.connection.write(text_frame(b"x" * 5000))
    assert scene.memory.used >= 50_000
    # When the client goes without having read it
    scene.client.reset()
    scene.stream.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # Then nothing is held for it
    assert scene.memory.used == 0


async def test_who_takes_too_much_of_the_memory_of_all_is_cut_off(start: Start) -> None:
    scene = start(max_front_bytes=200_000, max_unread=10**9)
    scene.fill()
    scene.connection.write(text_frame(b"x" * 300_000))
    with pytest.raises(ConnectionResetError):
        await scene.client.receive_all()
    assert scene.stream.closed()
    assert scene.rejections.counts == {CloseReason.MEMORY: 1}
    assert scene.memory.used == 0


async def test_a_message_for_which_there_is_no_room_is_refused_and_a_flood_of_small_ones_closed(start: Start) -> None:
    scene = start()
    scene.connection.receive_dropped(5_000_000)
    assert await scene.client.refusal() == SERVER_FULL[0]
    assert scene.closed_with == []
    scene.connection.close_for_memory()
    assert await scene.client.refusal() == MEMORY_FULL.user_message
    assert scene.closed_with == [MEMORY_FULL[:2]]


async def test_who_may_not_be_here_is_dismissed_with_what_waits_its_turn(start: Start) -> None:
    # Given somebody whose first message is on its way, and others wait behind it
    scene = start()
    scene.connection.receive(msgspec.json.encode({"type": "newcomer", "newcomer": "pest"}).decode())
    for number in range(3):
        scene.connection.receive(msgspec.json.encode(sample("text", text=f"spam {number}")).decode())
    # When a moderator has it closed
    scene.connection.kick(1008, "Be kind.")
    scene.connection.on_socket_closed()
    assert scene.closed_with == [(1008, "Be kind.")]
    # Then nothing follows what was on its way, but that the nickname is given up
    scene.end()
    assert [job["type"] for job in scene.jobs()] == ["newcomer", LEAVE]


async def close_when_written(stream: IOStream) -> None:
    await until(lambda: not stream.writing())
    stream.close()
