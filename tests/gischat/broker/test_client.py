"""The connection to Redis: its efficiency, and calls while the server is unavailable.

Against a real Valkey where that can be made to do what a test needs; else against a server of a few lines that says
what Redis says when it is loading, has become a replica, or hangs.
"""

import asyncio
import itertools
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from hashlib import sha1
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.ioloop import IOLoop

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

# Connections are retried much sooner than in production, and calls wait for them without limit …
HASTY = Timings(redis_retry=0.01, redis_command_timeout=DEADLINE)
# … or fail soon.
IMPATIENT = Timings(redis_retry=0.01, redis_command_timeout=0.2)
NAME = "test-multiplexer"

pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.fixture
def server(tmp_path: Path, io_loop: IOLoop) -> Iterator[Valkey]:
    """A separate Valkey, which the test may kill."""
    with Valkey(tmp_path) as server:
        yield server


@asynccontextmanager
async def connected(url: str, timings: Timings = HASTY, **options: Any) -> AsyncIterator[Any]:
    """A connection that must close; `Any`, because tests also use attributes of the multiplexer."""
    redis = connect(url, name=NAME, timings=timings, **options)
    await redis.__aenter__()
    try:
        yield redis
    finally:
        closing = asyncio.ensure_future(redis.__aexit__())
        done, _ = await asyncio.wait({closing}, timeout=DEADLINE)
        assert done, f"the connection is not closed after {DEADLINE} s"


async def answer(future: "asyncio.Future[Any]") -> Any:
    return await asyncio.wait_for(future, DEADLINE)


def ask(redis: Any, *command: Any) -> "asyncio.Future[Any]":
    """Send a command; with one server, the key does not matter."""
    future: asyncio.Future[Any] = redis.call(*command, key="key")
    return future


def echoes(redis: Any, number: int) -> "asyncio.Future[list[Any]]":
    """Send so many calls in one turn of the loop."""
    return asyncio.gather(*(ask(redis, "ECHO", str(one)) for one in range(number)))


def numbers(number: int) -> list[bytes]:
    return [b"%d" % one for one in range(number)]


async def blocked(server: Valkey, call: "asyncio.Future[Any]") -> None:
    """Wait until the server has received a call that blocks."""
    async with connected(server.url) as other:
        while b"blocked_clients:1" not in await answer(ask(other, "INFO", "clients")):
            assert not call.done()


# A server that answers


async def test_a_blocking_read_is_sent_before_the_turn_of_the_loop_ends(server: Valkey) -> None:
    async with connected(server.url) as redis:
        await answer(ask(redis, "PING"))
        with socket.create_connection(("127.0.0.1", server.port)) as other:
            reading = ask(redis, "XREAD", "BLOCK", 0, "STREAMS", "key", "$")
            until_blocked = time.monotonic() + DEADLINE
            seen = b""
            while b"blocked_clients:1" not in seen and time.monotonic() < until_blocked:  # the loop stands still
                other.sendall(b"INFO clients\r\n")
                seen = other.recv(65536)
        assert b"blocked_clients:1" in seen
        reading.cancel()


async def test_calls_of_one_turn_of_the_loop_are_sent_in_one_write(server: Valkey) -> None:
    async def reads(redis: Any) -> int:
        """The number of the server's reads from clients, including this query."""
        lines = (await answer(ask(redis, "INFO", "stats"))).decode().splitlines()
        return int(next(line for line in lines if line.startswith("total_reads_processed:")).partition(":")[2])

    async with connected(server.url) as redis:
        before = await reads(redis)
        assert await answer(echoes(redis, 200)) == numbers(200)
        assert await reads(redis) - before == 2  # the two hundred calls, and the query


async def test_a_call_that_fails_affects_no_other(valkey: Valkey) -> None:
    async with connected(valkey.url) as redis:
        connection = await answer(ask(redis, "CLIENT", "ID"))
        # A lone surrogate has no UTF-8 form. Sending one would be a bug, but must not block other calls for ever
        words = [("ECHO", "a"), ("NOSUCHCOMMAND",), ("ECHO", "b"), ("ECHO", "\ud800"), ("ECHO", "c"), ("ECHO", "d")]
        calls = [ask(redis, *command) for command in words]
        calls[4].cancel()
        a, unknown, b, surrogate, _, d = await answer(asyncio.gather(*calls, return_exceptions=True))
        assert (a, b, d) == (b"a", b"b", b"d")
        assert (type(unknown), type(surrogate)) == (ResponseError, UnicodeEncodeError)
        assert await answer(ask(redis, "CLIENT", "ID")) == connection


async def test_arguments_are_texts_bytes_and_numbers_of_any_size(valkey: Valkey) -> None:
    large = b"\x00\r\n$5\r\n\xff" * 2_500_000
    given = {"é": "é".encode(), b"\xff": b"\xff", -5: b"-5", 0.25: b"0.25", "": b"", large: large}
    async with connected(valkey.url) as redis:
        calls = [ask(redis, "ECHO", argument) for argument in given]
        assert await answer(asyncio.gather(*calls)) == [*given.values()]


async def test_a_connection_has_a_name_and_uses_the_database_of_its_url(valkey: Valkey) -> None:
    async with connected(valkey.url.removesuffix("/0") + "/3") as redis:
        clients = (await answer(ask(redis, "CLIENT", "LIST"))).decode().splitlines()
        (mine,) = [line for line in clients if f" name={NAME} " in line]
        assert " db=3 " in mine


async def test_a_connection_can_be_closed_while_its_server_exits() -> None:
    for turns in range(6):
        # Given a server that closes its connections at the same moment as the client
        going = asyncio.Event()

        def replies(_: int, command: list[bytes], going: asyncio.Event = going) -> Reply | str:
            if is_handshake(command):
                return HANDSHAKE
            going.set()
            return CLOSE

        async with ScriptedServer(replies).serving() as url, connected(url) as redis:
            call = ask(redis, "GET", "key")
            await going.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
        # Then the connection is closed nevertheless
        with pytest.raises(ConnectionLost):
            await answer(call)


COUNTING = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


async def test_an_unknown_script_is_sent_in_full_and_run_once(server: Valkey) -> None:
    script = Script("counting", (COUNTING,), sha1(COUNTING.encode(), usedforsecurity=False).hexdigest())
    async with connected(server.url) as redis:
        for expected in ({1, 2, 3, 4, 5}, {6, 7, 8, 9, 10}):
            # Given a Redis without scripts, initially or after a flush; when a script is run many times at once
            await answer(ask(redis, "SCRIPT", "FLUSH"))
            runs = [redis.run(script, ["counter"], [1]) for _ in range(5)]
            # Then each run is executed once
            assert set(await answer(asyncio.gather(*runs))) == expected
        # And afterwards only its digest is sent
        assert await answer(ask(redis, "EVALSHA", script.digest, 1, "counter", 1)) == 11


# A server that becomes unavailable


async def test_a_call_waits_for_a_server_that_is_starting(server: Valkey) -> None:
    server.kill()
    async with connected(server.url) as redis:
        unanswered = ask(redis, "PING")
    with pytest.raises(ConnectionLost):  # the connection can be closed though it was never established
        await answer(unanswered)
    async with connected(server.url) as redis:
        call = ask(redis, "PING")
        await asyncio.to_thread(server.start)
        assert await answer(call) == b"PONG"


async def test_an_unsent_call_fails_and_was_not_executed_and_a_sent_one_is_resent(server: Valkey) -> None:
    # Given a call that the server has received, and not answered
    async with connected(server.url, IMPATIENT) as redis:
        told = asyncio.Event()
        redis.reconnected = told.set
        sent = ask(redis, "BLPOP", "list", 0)
        await blocked(server, sent)
        # When the server is unavailable, and other calls wait for longer than their time limit
        server.kill()
        await until(lambda: not redis.is_connected)
        calls = [ask(redis, "SET", "key", "value") for _ in range(3)]
        for call in calls:
            with pytest.raises(Unavailable) as refused:
                await answer(call)
        # Then the error says that these were not executed, which is true when the server returns
        assert (refused.value.reason, redis.is_connected, told.is_set()) == (TOO_BUSY, False, False)
        assert not sent.done()
        await asyncio.to_thread(server.start)
        async with connected(server.url) as other:
            assert await answer(ask(other, "GET", "key")) is None
            # … and the first one is answered by its successor
            await answer(ask(other, "RPUSH", "list", "value"))
        assert await answer(sent) == [b"list", b"value"]
        assert (told.is_set(), redis.is_connected) == (True, True)


async def test_without_resending_unanswered_calls_fail_at_once(server: Valkey) -> None:
    async with connected(server.url, resends=False) as redis:
        sent = [ask(redis, "BLPOP", "list", 0), ask(redis, "PING")]
        await blocked(server, sent[0])
        server.kill()
        for call in sent:
            with pytest.raises(ConnectionLost):
                await answer(call)
        # … and later calls are answered by the successor
        await asyncio.to_thread(server.start)
        assert await answer(ask(redis, "PING")) == b"PONG"


async def test_a_dropped_connection_is_restored_and_no_call_is_lost(valkey: Valkey) -> None:
    async with connected(valkey.url) as redis:
        first = await answer(ask(redis, "CLIENT", "ID"))
        redis.disconnect()
        echo, second = ask(redis, "ECHO", "kept"), ask(redis, "CLIENT", "ID")
        assert await answer(echo) == b"kept"
        await until(lambda: redis.reconnections == 1)
        assert await answer(ask(redis, "CLIENT", "ID")) != first
        await answer(second)


async def test_calls_wait_while_the_servers_buffers_are_full(server: Valkey) -> None:
    async with connected(server.url) as redis:
        assert await answer(ask(redis, "PING")) == b"PONG"
        # Given a server that does not read, and more data than the system buffers
        server.signal(signal.SIGSTOP)
        large = ask(redis, "ECHO", b"x" * 30_000_000)
        await until(lambda: redis._transport.is_full)
        # When another call is made, it is not written before that
        small = ask(redis, "ECHO", "small")
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(redis._unsent) == 1
        # Then it follows as soon as the server reads
        server.signal(signal.SIGCONT)
        assert [len(one) for one in await answer(asyncio.gather(large, small))] == [30_000_000, 5]
        assert redis.reconnections == 0


# Unusual answers, and none


def scripted(reply: Callable[[int, bytes], Reply]) -> ScriptedServer:
    """A server that answers `ECHO number`, on a connection, with this."""
    return ScriptedServer(
        lambda connection, command: HANDSHAKE if is_handshake(command) else reply(connection, command[1])
    )


def echo(number: bytes) -> bytes:
    return b"+%b\r\n" % number


async def test_a_silent_server_is_detected_and_disconnected() -> None:
    # Given a server whose first connection becomes silent
    server = scripted(lambda connection, number: None if connection == 1 else echo(number))
    async with server.serving() as url, connected(url, answer_seconds=0.1) as redis:
        # When calls are made, then another connection answers them, in order
        assert await answer(echoes(redis, 3)) == numbers(3)
    assert [number for number, _ in server.commands[:4]] == [1, 1, 1, 2]


@virtual_time
async def test_a_server_that_sends_nothing_while_calls_wait_is_considered_dead() -> None:
    now = asyncio.get_running_loop().time
    nothing: Any = None
    redis = Multiplexer(nothing, name=NAME, answer_seconds=5.0)
    ended: list[Exception] = []
    wire: Any = SimpleNamespace(heard_at=0.0, end=ended.append)
    watching = asyncio.create_task(redis._watch(wire))
    # Without calls, no data is expected
    await pass_time(100)
    # A server with long answers sends data continuously
    redis._unanswered.append(PendingCommand(["ECHO", "hello"], "key"))
    for _ in range(10):
        await pass_time(4.9)
        wire.heard_at = now()
    assert not ended
    # Data that arrived while this process was frozen has not been read yet
    freeze(60)
    await settle()
    wire.heard_at = now()
    # Then no more data arrives
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
        CLOSE,
    ],
)
async def test_a_server_that_cannot_serve_is_replaced_by_the_next(said: bytes) -> None:
    # Given a server that is no longer the master after a call, or ends
    server = scripted(lambda connection, number: said if connection == 1 and number != b"0" else echo(number))
    async with server.serving() as url, connected(url) as redis:
        # When several calls are in flight, then the next server executes those that failed, in order
        assert await answer(echoes(redis, 4)) == numbers(4)
    assert [command[1] for number, command in server.commands if number == 2] == [b"1", b"2", b"3"]


async def test_a_loading_server_is_sent_no_calls() -> None:
    def replies(connection: int, command: list[bytes]) -> Reply | str:
        if command == [b"PING"] and connection < 3:
            return b"-LOADING Redis is loading the dataset in memory\r\n"
        return HANDSHAKE if is_handshake(command) else echo(command[1])

    server = ScriptedServer(replies)
    async with server.serving() as url, connected(url) as redis:
        assert await answer(ask(redis, "ECHO", "hello")) == b"hello"
    assert [number for number, command in server.commands if command[0] == b"ECHO"] == [3]


@pytest.mark.parametrize("every", [1, 2, 3, 5, 11])
async def test_calls_are_answered_whenever_the_connection_ends(every: int) -> None:
    """The connection may end at any step of a large write."""
    # Given a server that closes the connection repeatedly
    received = itertools.count(1)

    def reply(_: int, number: bytes) -> bytes:
        return CLOSE if (so_far := next(received)) % every == 0 and so_far < 50 else echo(number)

    server = scripted(reply)
    # When a call is made in every turn of the loop
    async with server.serving() as url, connected(url) as redis:
        calls = []
        for number in range(100):
            calls.append(ask(redis, "ECHO", str(number)))
            await asyncio.sleep(0)
        # Then each is answered eventually
        async with asyncio.timeout(DEADLINE):
            assert await asyncio.gather(*calls) == numbers(100)


async def test_a_server_that_is_not_redis_is_unavailable() -> None:
    server = ScriptedServer(lambda connection, command: b"HTTP/1.1 400 Bad Request\r\n\r\n")
    async with server.serving() as url, connected(url, IMPATIENT) as redis:
        with pytest.raises(Unavailable):
            await answer(ask(redis, "PING"))
        assert not redis.is_connected


async def test_redis_is_unavailable_until_the_password_is_right(valkey: Valkey) -> None:
    user = "test-user"
    async with connected(valkey.url) as admin:
        # Given a user, and a connection with a wrong password
        await answer(ask(admin, "ACL", "SETUSER", user, "reset", "on", ">other", "~*", "+@all"))
        try:
            async with connected(valkey.url.replace("//", f"//{user}:right@"), IMPATIENT) as redis:
                with pytest.raises(Unavailable):
                    await answer(ask(redis, "PING"))
                assert not redis.is_connected
                # When it is corrected in Redis, the connection works without a restart
                await answer(ask(admin, "ACL", "SETUSER", user, ">right"))
                await until(lambda: redis.is_connected)
                assert await answer(ask(redis, "ACL", "WHOAMI")) == user.encode()
        finally:
            await answer(ask(admin, "ACL", "DELUSER", user))
