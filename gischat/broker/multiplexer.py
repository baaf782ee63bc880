"""A pipelined connection to one Redis server, shared by a whole process.

All commands of one turn of the event loop are sent in one write; the answers come in the same order. A client with a
pool and a lock per command would cost more than the rest of a message's path.

After the connection is lost, it is made again, and commands that were sent without an answer are sent again, in the
same order. So all commands must be idempotent; our scripts are. Commands that could not be sent for a short time fail
with `Unavailable`. These, and those that Redis answers with an error at once, certainly had no effect. An error that
answers a resent command says nothing about its first attempt: see `InDoubt`.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Self

from gischat.broker.client import TOO_BUSY, ConnectionLost, Decoder, InDoubt, PendingCommand
from gischat.broker.connection import Connection
from gischat.broker.log_throttle import LogThrottle, RedisErrorLog, described
from gischat.broker.resp_errors import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from gischat.broker.scripts import Script
from gischat.broker.transport import Argument, RespTransport, pack
from gischat.errors import Unavailable
from gischat.lateness import sleeps_on_time
from gischat.observability import metrics
from gischat.timings import Timings

log = logging.getLogger(__name__)

BLOCKING_READS = ("XREAD", "XREADGROUP")

# Answers of a server that cannot execute commands, or not yet: the command had no effect; the next connection gets it.
NOT_HERE = (ReadOnlyError, BusyLoadingError, MasterDownError)
# Answers of a cluster's node that does not have the key: another node has.
NOT_THIS_KEY = (MovedError, AskError, ClusterDownError, TryAgainError)


class Multiplexer:
    """A connection to one server that reconnects by itself: a `Redis` of its own, or one node of a cluster."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Connection]],
        *,
        name: str,
        resends: bool = True,
        answer_seconds: float | None = None,
        reroute: Callable[[Sequence[PendingCommand]], None] | None = None,
        timings: Timings = Timings(),
    ) -> None:
        """Create it; `start` connects.

        Args:
            dial: creates the connection, not connected yet; called for each attempt, since the address may change.
            name: its name in logs.
            resends: send unanswered commands again on a new connection; if False, they fail with `ConnectionLost`.
            answer_seconds: the timeout of an answer, by default that of the timings; for blocking reads, it must exceed
                the time for which they block.
            reroute: takes the commands that this server does not answer, to reroute them; if None, they wait for the
                next connection.
        """
        self._dial = dial
        self._name = name
        self._connection: Connection | None = None
        self._resends = resends
        self._timings = timings
        self._answer_seconds = timings.redis_answer if answer_seconds is None else answer_seconds
        self._reroute = reroute
        self._unsent: deque[PendingCommand] = deque()
        self._unanswered: deque[PendingCommand] = deque()
        self._transport: RespTransport | None = None
        self._is_flush_scheduled = False
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._connected_since: float | None = None
        self._is_rejected = False  # by the last server, which accepts connections but executes no commands
        self._log = LogThrottle(f"{name} cannot connect", timings)
        self._errors = RedisErrorLog(name, timings)
        self.reconnections = 0
        # Without a node's address: the nodes of a cluster change.
        self._on_connection_lost = metrics.REDIS_CONNECTIONS_LOST.labels(name.partition(" ")[0]).inc
        self.reconnected: Callable[[], None] = lambda: None  # called after reconnecting

    @property
    def is_connected(self) -> bool:
        return self._connected_since is not None

    @property
    def is_idle(self) -> bool:
        """Whether there are no unanswered commands."""
        return not self._unsent and not self._unanswered

    @property
    def connected_seconds(self) -> float:
        since = self._connected_since
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    def start(self) -> None:
        """Connect, and reconnect until `stop`."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Close the connection; unanswered commands fail with `ConnectionLost`."""
        assert self._task is not None
        # A connection lost in the same turn may swallow the cancellation; the flag remains.
        self._is_stopping = True
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def call(self, *command: Argument, key: str) -> "asyncio.Future[Any]":
        return self.submit(PendingCommand(command, key))

    def run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        *,
        resends: bool = True,
        decode: Decoder | None = None,
    ) -> "asyncio.Future[Any]":
        return self.submit(PendingCommand.of(script, keys, arguments, resends=resends, decode=decode))

    def disconnect(self) -> None:
        if self._transport is not None:
            self._transport.end(ConnectionError("dropped"))

    def submit(self, call: PendingCommand) -> "asyncio.Future[Any]":
        """Send a command in this turn of the loop, or after reconnecting; returns the future of its answer.

        A blocking read is sent at once: the server answers nothing that follows it on the connection before it.
        """
        self._unsent.append(call)
        if call.command[0] in BLOCKING_READS:
            self._flush()
        else:
            self._schedule_flush()
        return call.answer

    async def _run(self) -> None:
        try:
            while not self._is_stopping:
                await self._connect_and_work()
                self._return_unanswered()
                self._return_unsent()
                await asyncio.sleep(self._timings.redis_retry)
        finally:
            for call in (*self._unanswered, *self._unsent):
                call.fail(ConnectionLost("The connection was closed."))

    async def _connect_and_work(self) -> None:
        try:
            connection = await self._connect()
            if not self._is_rejected:
                log.info("%s is connected", self._name)
            self._log.resolve()
            self._connected_since = asyncio.get_running_loop().time()
            if self.reconnections:
                self.reconnected()
            await self._work(connection)
        except (RedisError, OSError, TimeoutError) as error:
            self._is_rejected = self.is_connected and isinstance(error, NOT_HERE)
            if self.is_connected:
                self.reconnections += 1
                self._on_connection_lost()
                if self._is_rejected:
                    self._errors.record(error)
                else:
                    log.warning("%s is lost: %s", self._name, described(error))
            else:
                self._log.report(error)
        except Exception:
            log.exception("%s: unexpected error", self._name)
        finally:
            self._connected_since = None
            if self._connection is not None:
                self._connection.close()

    async def _connect(self) -> Connection:
        async with asyncio.timeout(2 * self._timings.redis_connect):
            self._connection = connection = await self._dial()
            await connection.connect()
            # A server that loads its data accepts connections, but answers with an error.
            await connection.ask("PING")
        return connection

    async def _work(self, connection: Connection) -> None:
        """Exchange commands and answers; raises the error that ended the connection."""
        self._transport = transport = RespTransport(connection, answered=self._answered, writable=self._schedule_flush)
        watch = asyncio.create_task(self._watch(transport))
        try:
            self._schedule_flush()
            await transport.wait_ended()
        finally:
            watch.cancel()
            self._transport = None

    def _schedule_flush(self) -> None:
        if not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send all commands that wait."""
        self._is_flush_scheduled = False
        if self._transport is not None and not self._transport.is_full and self._unsent:
            self._transport.write(self._pack_unsent())

    def _pack_unsent(self) -> bytes:
        """Encode all unsent commands, which then await their answers."""
        now = asyncio.get_running_loop().time()
        packed: list[bytes] = []
        while self._unsent:
            call = self._unsent.popleft()
            call.sent_at, call.is_sent = now, True
            try:
                packed.append(pack(call.command))
            except (TypeError, ValueError) as error:
                call.fail(error)  # a bug of the caller, which must not affect other callers
            else:
                self._unanswered.append(call)
        return b"".join(packed)

    def _answered(self, answer: Any) -> None:
        if isinstance(answer, NOT_HERE):
            self._unanswered[0].is_sent = False  # it had no effect
            raise answer
        if isinstance(answer, RedisError):
            self._answered_with(answer)
            return
        self._unanswered.popleft().resolve(answer)

    def _answered_with(self, error: RedisError) -> None:
        call = self._unanswered.popleft()
        if isinstance(error, NoScriptError) and call.script is not None:
            call.command = ("EVAL", call.script.text, *call.command[2:])
            self.submit(call)
        elif self._reroute is not None and isinstance(error, NOT_THIS_KEY):
            self._reroute([call])
        else:
            self._errors.record(error)
            call.fail(InDoubt(str(error)) if call.is_in_doubt else error)

    async def _watch(self, transport: RespTransport) -> None:
        """End the connection if an answer is overdue: the network may be down (a cable, a firewall) without a FIN."""
        while True:
            if not await sleeps_on_time(self._answer_seconds / 5, self._timings.late):
                continue
            now = asyncio.get_running_loop().time()
            # A server that sends other answers, however many there are, is alive.
            if self._unanswered and now - max(self._unanswered[0].sent_at, transport.heard_at) > self._answer_seconds:
                transport.end(TimeoutError(f"no answer for {self._answer_seconds:g} seconds"))

    def _return_unanswered(self) -> None:
        again = []
        for call in self._unanswered:
            call.is_in_doubt = call.is_in_doubt or call.is_sent
            if self._resends and (call.resends or not call.is_in_doubt):
                again.append(call)
            else:
                call.fail(ConnectionLost("The connection was lost before the answer came."))
        self._unanswered.clear()
        self._unsent.extendleft(reversed(again))

    def _return_unsent(self) -> None:
        waiting, self._unsent = self._unsent, deque()
        if self._reroute is not None:
            self._reroute(waiting)
        else:
            self._unsent.extend(drop_expired(waiting, self._timings))


def drop_expired(waiting: Iterable[PendingCommand], timings: Timings) -> list[PendingCommand]:
    """Fail the commands that could not be sent in time; return the others."""
    too_long_ago = asyncio.get_running_loop().time() - timings.redis_command_timeout
    patient = []
    for call in waiting:
        if call.is_older_than(too_long_ago):
            call.fail(Unavailable(TOO_BUSY))
        else:
            patient.append(call)
    return patient
