"""The connection to Redis: lean while all is well, and what becomes of calls when it is not.

Against a real Valkey where that can be made to do what a test needs; else against a server of a few lines that says
what Redis says when it is loading, has become a replica, or hangs.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha1
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from gischat.broker import multiplexer
from gischat.broker.client import TOO_BUSY, ConnectionLost, PendingCommand
from gischat.broker.discovery import connect
from gischat.broker.multiplexer import Multiplexer
from gischat.broker.resp_errors import ResponseError
from gischat.broker.scripts import Script
from gischat.errors import Unavailable
from gischat.timings import Timings
from tests.support.processes import Valkey
from tests.support.scripted_redis import CLOSE, HANDSHAKE, Reply, ScriptedServer, is_handshake
from tests.support.virtual_time import freeze, pass_time, settle, virtual_time
from tests.support.waiting import DEADLINE, until

# Connections are made anew much sooner than in life, and calls wait for them as long as it takes …
HASTY = Timings(redis_retry=0.01, redis_command_timeout=DEADLINE)
# … or are refused soon.
IMPATIENT = Timings(redis_retry=0.01, redis_command_timeout=0.2)
NAME = "test-multiplexer"

pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.fixture
def server(tmp_path: Path, io_loop: IOLoop) -> Iterator[Valkey]:
    """A Valkey of the test's own, to be killed."""
    with Valkey(tmp_path) as server:
        yield server


@asynccontextmanager
async def connected(url: str, timings: Timings = HASTY, **options: Any) -> AsyncIterator[Any]:
    """A connection that must close; `Any`, for tests look at what is only a multiplexer's, too."""
    redis = connect(url, name=NAME, timings=timings, **options)
    await redis.__aenter__()
    try:
        yield redis
    finally:
        closing = asyncio.ensure_future(redis.__aexit__())
        done, _ = await asyncio.wait({closing}, timeout=DEADLINE)
        if not done:
            await cancel_all_others()
            raise AssertionError(f"the connection is not closed after {DEADLINE} s")


async def cancel_all_others() -> None:
    """Leaves nothing running behind a test that fails, or as little as can be helped."""
    for _ in range(20):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=0.05)


async def answer(future: "asyncio.Future[Any]") -> Any:
    return await asyncio.wait_for(future, DEADLINE)


def ask(redis: Any, *command: Any) -> "asyncio.Future[Any]":
    """Sends a command; on one server it does not matter about which key."""
    future: asyncio.Future[Any] = redis.call(*command, key="key")
    return future


# While all is well


async def test_each_call_gets_its_own_answer_however_many_there_are(valkey: Valkey) -> None:
    # Given many that ask at once, again and again
    async def echoes(redis: Any, who: int) -> None:
        for number in range(20):
            asked = b"%d of %d" % (number, who)
            assert await answer(ask(redis, "ECHO", asked)) == asked

    async with connected(valkey.url) as redis:
        await asyncio.gather(*(echoes(redis, who) for who in range(50)))


async def reads(redis: Any) -> int:
    """How often the server has read something from a client, this question included."""
    lines = (await answer(ask(redis, "INFO", "stats"))).decode().splitlines()
    return int(next(line for line in lines if line.startswith("total_reads_processed:")).partition(":")[2])


async def test_what_is_asked_in_one_turn_of_the_loop_goes_out_in_one_write(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiplexer, "PAUSE_SECONDS", 3600.0)  # the first of them does not come after a pause

    async with connected(server.url) as redis:
        before = await reads(redis)
        assert await asyncio.gather(*(answer(ask(redis, "ECHO", str(n))) for n in range(200))) == [
            b"%d" % n for n in range(200)
        ]
        after = await reads(redis)
    assert after - before == 2  # the two hundred, and the question


async def test_what_is_held_goes_out_with_the_read_that_follows_or_after_a_moment(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(server.url) as other, connected(server.url, holds=True) as redis:
        assert await answer(ask(redis, "ECHO", "alone")) == b"alone"
        monkeypatch.setattr(multiplexer, "PAUSE_SECONDS", 3600.0)
        before = await reads(other)
        held = [ask(redis, "ECHO", str(number)) for number in range(3)]
        await answer(ask(redis, "XREAD", "BLOCK", 1, "STREAMS", "stream", "$"))
        assert await asyncio.gather(*held) == [b"0", b"1", b"2"]
        assert await reads(other) - before == 2  # all of them, and the question


async def test_an_error_is_the_answer_to_its_own_call_alone(valkey: Valkey) -> None:
    async with connected(valkey.url) as redis:
        calls = [ask(redis, "ECHO", "before"), ask(redis, "NOSUCHCOMMAND"), ask(redis, "ECHO", "after")]
        before, error, after = await answer(asyncio.gather(*calls, return_exceptions=True))
        assert (before, after) == (b"before", b"after")
        assert isinstance(error, ResponseError)
        assert redis.reconnections == 0


async def test_who_no_longer_waits_takes_nobody_elses_answer(valkey: Valkey) -> None:
    async with connected(valkey.url) as redis:
        connection = await answer(ask(redis, "CLIENT", "ID"))
        calls = [ask(redis, "ECHO", str(number)) for number in range(10)]
        for call in calls[::2]:
            call.cancel()
        assert await answer(asyncio.gather(*calls[1::2])) == [b"1", b"3", b"5", b"7", b"9"]
        assert await answer(ask(redis, "CLIENT", "ID")) == connection


@pytest.mark.parametrize("size", [0, 1, 20_000_000])
async def test_values_of_any_size_go_there_and_come_back(valkey: Valkey, size: int) -> None:
    value = b"\x00\r\n$5\r\n\xff" * (size // 8) + b"x" * (size % 8)
    async with connected(valkey.url) as redis:
        calls = [ask(redis, "ECHO", value), ask(redis, "ECHO", "behind it")]
        assert await answer(asyncio.gather(*calls)) == [value, b"behind it"]


@pytest.mark.parametrize(
    ("argument", "value"), [("é", "é".encode()), (b"\xff", b"\xff"), (-5, b"-5"), (0.25, b"0.25"), ("", b"")]
)
async def test_arguments_are_texts_bytes_and_numbers(valkey: Valkey, argument: Any, value: bytes) -> None:
    async with connected(valkey.url) as redis:
        assert await answer(ask(redis, "ECHO", argument)) == value


async def test_a_call_that_cannot_be_written_takes_no_other_with_it(valkey: Valkey) -> None:
    """A lone surrogate has no UTF-8. It would be a bug of ours to send one; others shall not wait for ever for that."""
    async with connected(valkey.url) as redis:
        assert await answer(ask(redis, "PING")) == b"PONG"
        calls = [ask(redis, "ECHO", "before"), ask(redis, "ECHO", "\ud800"), ask(redis, "ECHO", "after")]
        before, error, after = await answer(asyncio.gather(*calls, return_exceptions=True))
        assert (before, after) == (b"before", b"after")
        assert isinstance(error, Exception)


async def test_a_connection_is_known_by_its_name_and_uses_the_database_of_its_url(valkey: Valkey) -> None:
    async with connected(valkey.url.removesuffix("/0") + "/3") as redis:
        clients = (await answer(ask(redis, "CLIENT", "LIST"))).decode().splitlines()
        (mine,) = [line for line in clients if f" name={NAME} " in line]
        assert " db=3 " in mine


@pytest.mark.parametrize("turns", range(4))
async def test_what_has_no_answer_when_the_connection_is_closed_fails(valkey: Valkey, turns: int) -> None:
    # Given calls of which one waits for its answer, and one is just about to be sent
    async with connected(valkey.url) as redis:
        assert await answer(ask(redis, "PING")) == b"PONG"
        calls = [ask(redis, "BLPOP", "nothing-comes-here", 0)]
        for _ in range(turns):
            await asyncio.sleep(0)
        calls.append(ask(redis, "PING"))
        # When the connection is closed
    # Then neither waits for ever
    for call in calls:
        with pytest.raises(ConnectionLost):
            await answer(call)


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_can_be_closed_while_its_server_goes_away(turns: int) -> None:
    # Given a server that ends its connections in the moment in which they are closed
    going = asyncio.Event()

    def replies(connection: int, command: list[bytes]) -> Reply | str:
        if is_handshake(command):
            return HANDSHAKE
        going.set()
        return CLOSE

    async with ScriptedServer(replies).serving() as url, connected(url) as redis:
        call = ask(redis, "GET", "key")
        await going.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
    # Then it is closed all the same
    with pytest.raises(ConnectionLost):
        await answer(call)


async def test_a_connection_that_was_never_made_can_be_closed(server: Valkey) -> None:
    server.kill()
    async with connected(server.url) as redis:
        call = ask(redis, "PING")
    with pytest.raises(ConnectionLost):
        await answer(call)


# Scripts

COUNTING = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


def counting() -> Script:
    return Script("counting", COUNTING, sha1(COUNTING.encode(), usedforsecurity=False).hexdigest())


async def test_a_script_that_redis_does_not_know_is_sent_whole_and_run_once(server: Valkey) -> None:
    async with connected(server.url) as redis:
        for expected in ({1, 2, 3, 4, 5}, {6, 7, 8, 9, 10}):
            # Given a Redis that knows no scripts, at first or again
            await answer(ask(redis, "SCRIPT", "FLUSH"))
            # When one is run many times at once
            runs = [redis.run(counting(), ["counter"], [1]) for _ in range(5)]
            # Then each run counts once
            assert set(await answer(asyncio.gather(*runs))) == expected
        # And from then on it is known by its digest alone
        assert await answer(ask(redis, "EVALSHA", counting().digest, 1, "counter", 1)) == 11


async def test_a_restarted_redis_is_given_the_scripts_again(server: Valkey) -> None:
    async with connected(server.url) as redis:
        await answer(redis.run(counting(), ["counter"], [1]))
        await restarted(server)
        assert await answer(redis.run(counting(), ["counter"], [1])) == 1


# When the server goes away


async def restarted(server: Valkey) -> None:
    server.kill()
    await asyncio.to_thread(server.start)


async def test_a_call_waits_a_while_for_a_server_that_is_not_there_yet(server: Valkey) -> None:
    server.kill()
    async with connected(server.url) as redis:
        call = ask(redis, "PING")
        await asyncio.to_thread(server.start)
        assert await answer(call) == b"PONG"


async def test_what_could_not_be_sent_is_refused_in_words_and_was_not_done(server: Valkey) -> None:
    # Given a server that has gone
    async with connected(server.url, IMPATIENT) as redis:
        assert await answer(ask(redis, "PING")) == b"PONG"
        server.kill()
        await until(lambda: not redis.is_connected)
        # When something is asked of it for longer than anyone waits
        calls = [ask(redis, "SET", "key", "value") for _ in range(3)]
        for call in calls:
            with pytest.raises(Unavailable) as refused:
                await answer(call)
        # Then it is said, and is true when the server comes back
        assert refused.value.reason == TOO_BUSY
        assert not redis.is_connected
        await asyncio.to_thread(server.start)
        await until(lambda: redis.is_connected)
        assert await answer(ask(redis, "GET", "key")) is None


async def test_what_was_sent_without_an_answer_is_not_refused_but_sent_again(server: Valkey) -> None:
    # Given a call that the server has, and has not answered
    async with connected(server.url, IMPATIENT) as redis:
        sent = ask(redis, "BLPOP", "list", 0)
        await answer(ask_elsewhere(server, "CLIENT", "LIST", until=b"cmd=blpop"))
        # When the server is away for longer than a call waits to be sent
        server.kill()
        await until(lambda: not redis.is_connected)
        with pytest.raises(Unavailable):
            await answer(ask(redis, "PING"))
        assert not sent.done()
        # Then it is sent to its successor, who answers
        await asyncio.to_thread(server.start)
        async with connected(server.url) as other:
            await answer(ask(other, "RPUSH", "list", "value"))
        assert await answer(sent) == [b"list", b"value"]


def ask_elsewhere(server: Valkey, *command: str, until: bytes) -> "asyncio.Future[Any]":
    """Asks over another connection, again and again until the answer holds this."""

    async def asking() -> None:
        async with connected(server.url) as redis:
            while until not in await answer(ask(redis, *command)):
                pass

    return asyncio.ensure_future(asking())


async def test_where_nothing_is_sent_again_what_has_no_answer_is_lost_at_once(server: Valkey) -> None:
    async with connected(server.url, resends=False) as redis:
        sent = [ask(redis, "BLPOP", "list", 0), ask(redis, "PING")]
        await answer(ask_elsewhere(server, "CLIENT", "LIST", until=b"cmd=blpop"))
        server.kill()
        for call in sent:
            with pytest.raises(ConnectionLost):
                await answer(call)
        # … and what is asked after that is answered by the successor
        await asyncio.to_thread(server.start)
        assert await answer(ask(redis, "PING")) == b"PONG"


async def test_it_is_told_when_a_lost_connection_is_there_again(server: Valkey) -> None:
    async with connected(server.url) as redis:
        told = asyncio.Event()
        redis.reconnected = told.set
        assert await answer(ask(redis, "PING")) == b"PONG"
        assert not told.is_set()
        await restarted(server)
        await asyncio.wait_for(told.wait(), DEADLINE)
        assert redis.is_connected
        assert await answer(ask(redis, "PING")) == b"PONG"


async def test_a_connection_that_is_dropped_is_made_anew_and_nothing_is_lost(valkey: Valkey) -> None:
    async with connected(valkey.url) as redis:
        first = await answer(ask(redis, "CLIENT", "ID"))
        redis.disconnect()
        echo, second = ask(redis, "ECHO", "kept"), ask(redis, "CLIENT", "ID")
        assert await answer(echo) == b"kept"
        await until(lambda: redis.reconnections == 1)
        assert await answer(ask(redis, "CLIENT", "ID")) != first
        await answer(second)


async def test_a_frozen_server_answers_when_it_is_awake_again(server: Valkey) -> None:
    async with connected(server.url) as redis:
        assert await answer(ask(redis, "PING")) == b"PONG"
        server.signal(signal.SIGSTOP)
        call = ask(redis, "ECHO", "hello")
        await asyncio.sleep(0)
        server.signal(signal.SIGCONT)
        assert await answer(call) == b"hello"


async def test_what_a_server_has_no_room_for_waits_until_it_has(server: Valkey) -> None:
    async with connected(server.url) as redis:
        assert await answer(ask(redis, "PING")) == b"PONG"
        # Given a server that reads no more, and more than the system takes in its place
        server.signal(signal.SIGSTOP)
        large = ask(redis, "ECHO", b"x" * 30_000_000)
        await until(lambda: redis._transport.is_full)
        # When something else is asked, it is not written on top of that
        small = ask(redis, "ECHO", "small")
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(redis._unsent) == 1
        # Then it follows as soon as there is room
        server.signal(signal.SIGCONT)
        assert [len(one) for one in await answer(asyncio.gather(large, small))] == [30_000_000, 5]
        assert redis.reconnections == 0


# What a server may say, or not say


async def test_a_server_that_says_nothing_any_more_is_noticed_and_left() -> None:
    # Given a server whose first connection goes dead without a word
    def replies(connection: int, command: list[bytes]) -> Reply | str:
        if is_handshake(command):
            return HANDSHAKE
        return None if connection == 1 else b"+%b\r\n" % command[1]

    server = ScriptedServer(replies)
    async with server.serving() as url, connected(url, answer_seconds=0.1) as redis:
        # When something is asked, then another connection answers it, in order
        calls = [ask(redis, "ECHO", str(number)) for number in range(3)]
        assert await answer(asyncio.gather(*calls)) == [b"0", b"1", b"2"]
    assert [number for number, _ in server.commands[:4]] == [1, 1, 1, 2]


@virtual_time
async def test_a_server_is_taken_for_dead_that_owes_an_answer_and_says_nothing() -> None:
    now = asyncio.get_running_loop().time
    nothing: Any = None
    redis = Multiplexer(nothing, name=NAME, answer_seconds=5.0)
    ended: list[Exception] = []
    wire: Any = SimpleNamespace(heard_at=0.0, end=ended.append)
    watching = asyncio.create_task(redis._watch(wire))
    # As long as nobody asks, there is nothing to be said
    await pass_time(100)
    # Who has much to answer says something all the while
    redis._unanswered.append(PendingCommand(["ECHO", "hello"], "key"))
    for _ in range(10):
        await pass_time(4.9)
        wire.heard_at = now()
    assert not ended
    # What came while we were frozen has not been read yet
    freeze(60)
    await settle()
    wire.heard_at = now()
    # And then no more comes
    await pass_time(4.9)
    assert not ended
    await pass_time(1.2)
    assert str(ended[0]) == "no answer for 5 seconds"
    watching.cancel()


@pytest.mark.parametrize(
    "said",
    [
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    ],
)
async def test_a_server_that_cannot_do_it_now_is_left_for_the_next(said: bytes) -> None:
    # Given a server that has stopped being the one to ask
    def replies(connection: int, command: list[bytes]) -> Reply | str:
        if is_handshake(command):
            return HANDSHAKE
        return said if connection == 1 and command[1] != b"0" else b"+%b\r\n" % command[1]

    server = ScriptedServer(replies)
    async with server.serving() as url, connected(url) as redis:
        # When several calls are on their way
        calls = [ask(redis, "ECHO", str(number)) for number in range(4)]
        # Then those that it did not do are done by the next, in their order
        assert await answer(asyncio.gather(*calls)) == [b"0", b"1", b"2", b"3"]
    assert [command[1] for number, command in server.commands if number == 2] == [b"1", b"2", b"3"]


async def test_a_server_that_is_still_loading_is_asked_nothing() -> None:
    def replies(connection: int, command: list[bytes]) -> Reply | str:
        if command == [b"PING"] and connection < 3:
            return b"-LOADING Redis is loading the dataset in memory\r\n"
        return HANDSHAKE if is_handshake(command) else b"+%b\r\n" % command[1]

    server = ScriptedServer(replies)
    async with server.serving() as url, connected(url) as redis:
        assert await answer(ask(redis, "ECHO", "hello")) == b"hello"
    assert [number for number, command in server.commands if command[0] == b"ECHO"] == [3]


async def test_calls_that_were_cut_off_are_sent_again_in_their_order() -> None:
    # Given a server that ends the connection in the middle
    def replies(connection: int, command: list[bytes]) -> Reply | str:
        if is_handshake(command):
            return HANDSHAKE
        return CLOSE if connection == 1 and command[1] == b"2" else b"+%b\r\n" % command[1]

    server = ScriptedServer(replies)
    async with server.serving() as url, connected(url) as redis:
        calls = [ask(redis, "ECHO", str(number)) for number in range(5)]
        assert await answer(asyncio.gather(*calls)) == [b"%d" % number for number in range(5)]
    # Then what it had not answered, and only that, goes to the next
    assert [command[1] for number, command in server.commands if number == 2] == [b"2", b"3", b"4"]


@pytest.mark.parametrize("every", range(1, 12))
async def test_whenever_it_is_cut_off_it_goes_on(every: int) -> None:
    """While much is written: the end of a connection may come at any turn of what writes to it."""
    commands = 0

    # Given a server that ends the connection again and again
    def replies(connection: int, command: list[bytes]) -> Reply | str:
        nonlocal commands
        if is_handshake(command):
            return HANDSHAKE
        commands += 1
        return CLOSE if commands % every == 0 and commands < 100 else b"+%b\r\n" % command[1]

    # When somebody asks in every turn of the loop
    server = ScriptedServer(replies)
    async with server.serving() as url, connected(url) as redis:
        calls = []
        for number in range(200):
            calls.append(ask(redis, "ECHO", str(number)))
            await asyncio.sleep(0)
        # Then each is answered in the end
        async with asyncio.timeout(DEADLINE):
            assert await asyncio.gather(*calls) == [b"%d" % number for number in range(200)]


async def test_something_that_is_no_redis_is_out_of_reach() -> None:
    server = ScriptedServer(lambda connection, command: b"HTTP/1.1 400 Bad Request\r\n\r\n")
    async with server.serving() as url, connected(url, IMPATIENT) as redis:
        with pytest.raises(Unavailable):
            await answer(ask(redis, "PING"))
        assert not redis.is_connected


async def test_a_redis_may_be_on_a_unix_socket(tmp_path: Path) -> None:
    server = ScriptedServer(lambda connection, command: HANDSHAKE if is_handshake(command) else b"$2\r\nhi\r\n")
    async with server.serving(str(tmp_path / "socket")) as url, connected(url) as redis:
        assert await answer(ask(redis, "GET", "key")) == b"hi"


# Passwords


async def test_a_wrong_password_is_out_of_reach_until_it_is_right(valkey: Valkey) -> None:
    user = "test-user"
    async with connected(valkey.url) as admin:
        # Given a user, and somebody who has the password wrong
        await answer(ask(admin, "ACL", "SETUSER", user, "reset", "on", ">other", "~*", "+@all"))
        try:
            async with connected(valkey.url.replace("//", f"//{user}:right@"), IMPATIENT) as redis:
                with pytest.raises(Unavailable):
                    await answer(ask(redis, "PING"))
                assert not redis.is_connected
                # When it is put right, nothing has to be started again
                await answer(ask(admin, "ACL", "SETUSER", user, ">right"))
                await until(lambda: redis.is_connected)
                assert await answer(ask(redis, "ACL", "WHOAMI")) == user.encode()
        finally:
            await answer(ask(admin, "ACL", "DELUSER", user))
