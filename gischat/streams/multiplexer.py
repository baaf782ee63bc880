"""One lean connection to Redis that a whole process shares.

What is asked within one turn of the event loop goes out in one write; answers come back in order. redis-py's own
`Connection` does the handshake (authentication, TLS, name) and the parsing; its client, a pool and a lock per command,
would cost more than all the rest of a message's way.

A lost connection is taken up again, and what had been sent without an answer is sent once more, in the same order. So
commands given here must bear being carried out twice; every script of ours does. What had not been sent yet waits for a
short time and is then refused: of that, and only of that, it is certain that Redis did not act.
"""

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    MasterDownError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from gischat.errors import Refused
from gischat.streams.scripts import Script

log = logging.getLogger(__name__)

CONNECT_SECONDS = 2.0
RETRY_SECONDS = 0.2
PATIENCE_SECONDS = 3.0  # how long a command waits for a connection before it is refused
ANSWER_SECONDS = 5.0  # how long an answer may take before the connection counts as lost

# Answers that say: not this server, or not yet. The command was not carried out; it goes to the next connection.
NOT_HERE = (ReadOnlyError, BusyLoadingError, MasterDownError)

Argument = str | bytes | int | float


class Call:
    """A command on its way."""

    __slots__ = ("answer", "command", "script", "since")

    def __init__(self, command: Sequence[Argument], script: Script | None, answer: "asyncio.Future[Any]") -> None:
        self.command = command
        self.script = script
        self.answer = answer
        self.since = answer.get_loop().time()

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Lost(ConnectionError):
    """The connection ended before the answer came; the command may have been carried out."""


class Multiplexer:
    """A connection that keeps itself alive. Use it as `async with Multiplexer(…) as redis`."""

    def __init__(self, url: str, *, name: str, resends: bool = True, answer_seconds: float = ANSWER_SECONDS) -> None:
        """
        Args:
            url: `redis://`, `rediss://` or `unix://`, with user, password and database as redis-py reads them.
            name: what `CLIENT LIST` shows.
            resends: whether unanswered commands are sent again over a new connection; if not, they fail as `Lost`.
            answer_seconds: how long an answer may take; for blocking reads, more than they block.
        """
        self._connection = _connection(url, name)
        self._resends = resends
        self._answer_seconds = answer_seconds
        self._unsent: deque[Call] = deque()
        self._unanswered: deque[Call] = deque()
        self._something_to_send = asyncio.Event()
        self._to_drop = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None
        self.is_connected = False
        self.reconnections = 0
        self.reconnected: Callable[[], None] = lambda: None  # called when a lost connection is there again

    async def __aenter__(self) -> "Multiplexer":
        self._tending = asyncio.create_task(self._tend(), name="redis")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._tending is not None
        self._tending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tending

    def call(self, *command: Argument) -> "asyncio.Future[Any]":
        """Sends a command; the future has Redis' answer.

        The future fails with `Refused` when the command could not be sent in time, with redis-py's `ResponseError` when
        Redis answers an error, with `Lost` when the connection ended and this multiplexer does not send again.
        """
        return self._enter(command, None)

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> "asyncio.Future[Any]":
        """Runs a script by its digest; one that Redis does not know (it was restarted) is sent whole."""
        return self._enter(("EVALSHA", script.digest, len(keys), *keys, *arguments), script)

    def drop(self) -> None:
        """Ends the connection, for it does not do what it should; the next is made at once."""
        self._to_drop.set()

    def _enter(self, command: Sequence[Argument], script: Script | None) -> "asyncio.Future[Any]":
        call = Call(command, script, asyncio.get_running_loop().create_future())
        self._unsent.append(call)
        self._something_to_send.set()
        return call.answer

    async def _tend(self) -> None:
        try:
            while True:
                await self._connect_and_work()
                self._give_back_unanswered()
                self._refuse_the_impatient()
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            self.is_connected = False
            await self._connection.disconnect(nowait=True)
            for call in (*self._unanswered, *self._unsent):
                call.fail(Lost("The connection was closed."))

    async def _connect_and_work(self) -> None:
        try:
            async with asyncio.timeout(2 * CONNECT_SECONDS):
                await self._connection.connect()  # type: ignore[no-untyped-call]
                # A server that is still loading its data accepts connections, but knows nothing yet.
                await self._connection.send_command("PING", check_health=False)
                await self._connection.read_response()
            log.info("connected to redis")
            self.is_connected = True
            if self.reconnections:
                self.reconnected()
            self._something_to_send.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                group.create_task(self._read())
                group.create_task(self._watch())
                group.create_task(self._wait_for_drop())
        except* (RedisError, OSError, TimeoutError) as errors:
            if self.is_connected:
                self.reconnections += 1
                log.warning("redis is lost: %s", _first(errors))
            else:
                log.debug("redis is out of reach: %s", _first(errors))
        finally:
            self.is_connected = False
            await self._connection.disconnect(nowait=True)

    async def _write(self) -> None:
        while True:
            await self._something_to_send.wait()
            self._something_to_send.clear()
            calls, self._unsent = self._unsent, deque()
            now = asyncio.get_running_loop().time()
            packed: list[bytes] = []
            for call in calls:
                call.since = now
                packed += self._connection.pack_command(*call.command)
            self._unanswered += calls
            await self._connection.send_packed_command(b"".join(packed), check_health=False)

    async def _read(self) -> None:
        while True:
            try:
                answer = await self._connection.read_response(disable_decoding=True, timeout=math.inf)
            except NOT_HERE:
                raise
            except ResponseError as error:
                self._answered_with(error)
            else:
                call = self._unanswered.popleft()
                if not call.answer.done():
                    call.answer.set_result(answer)

    def _answered_with(self, error: ResponseError) -> None:
        call = self._unanswered.popleft()
        if isinstance(error, NoScriptError) and call.script is not None:
            call.command = ("EVAL", call.script.text, *call.command[2:])
            self._unsent.append(call)
            self._something_to_send.set()
        else:
            call.fail(error)

    async def _watch(self) -> None:
        """A link that is dead without a word (a cable, a firewall) shows by an answer that does not come."""
        while True:
            await asyncio.sleep(self._answer_seconds / 5)
            now = asyncio.get_running_loop().time()
            if self._unanswered and now - self._unanswered[0].since > self._answer_seconds:
                raise TimeoutError(f"no answer for {self._answer_seconds:g} seconds")

    async def _wait_for_drop(self) -> None:
        self._to_drop.clear()
        await self._to_drop.wait()
        raise ConnectionError("dropped")

    def _give_back_unanswered(self) -> None:
        if self._resends:
            self._unsent.extendleft(reversed(self._unanswered))
            # They have been sent: whether Redis acted on them is known only when they have been answered.
            for call in self._unanswered:
                call.since = math.inf
        else:
            for call in self._unanswered:
                call.fail(Lost("The connection was lost before the answer came."))
        self._unanswered.clear()

    def _refuse_the_impatient(self) -> None:
        oldest = asyncio.get_running_loop().time() - PATIENCE_SECONDS
        waiting, self._unsent = self._unsent, deque()
        for call in waiting:
            if call.since < oldest:
                call.fail(Refused("The server cannot take messages at the moment. Please send it again later."))
            else:
                self._unsent.append(call)


def _connection(url: str, name: str) -> AbstractConnection:
    options: dict[str, Any] = dict(parse_url(url))
    kind = options.pop("connection_class", Connection)
    made: AbstractConnection = kind(
        **options,
        client_name=name,
        protocol=2,
        decode_responses=False,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return made


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
