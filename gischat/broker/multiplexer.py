"""One lean connection to Redis that a whole process shares.

What is asked within one turn of the event loop goes out in one write. Only the first after a pause goes at once, for
the end of the turn is a wake-up more; and so does a read that waits, behind which nothing is answered. Answers come
back in order. A client with a pool and a lock per command would cost more than all the rest of a message's way.

A lost connection is taken up again, and what had been sent without an answer is sent once more, in the same order. So
commands given here must bear being carried out twice; every script of ours does. What had not been sent yet waits for a
short time and is then refused: of that, and of what Redis answers with an error at once, it is certain that it did not
act. An error that answers a command sent before says nothing about the first time: see `InDoubt`.
"""

import asyncio
import contextlib
import logging
import math
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

PAUSE_SECONDS = 0.001  # without a write: less than one in it, and commands come too close for a write each
BLOCKING_READS = ("XREAD", "XREADGROUP")  # nothing else is answered until they are

# Answers that say: not this server, or not yet. The command was not carried out; it goes to the next connection.
NOT_HERE = (ReadOnlyError, BusyLoadingError, MasterDownError)
# … and in a cluster: another server, for this key.
NOT_THIS_KEY = (MovedError, AskError, ClusterDownError, TryAgainError)


class Multiplexer:
    """A connection to one server that keeps itself alive: a `Redis` of its own, or a node of a cluster."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Connection]],
        *,
        name: str,
        resends: bool = True,
        answer_seconds: float | None = None,
        give_back: Callable[[Sequence[PendingCommand]], None] | None = None,
        holds: bool = False,
        timings: Timings = Timings(),
    ) -> None:
        """
        Args:
            dial: says where to connect to, each time anew: the connection, not made yet.
            name: what logs call it.
            resends: whether unanswered commands are sent again over a new connection; if not, they fail as
            `ConnectionLost`.
            answer_seconds: for how long a server that owes an answer may say nothing, by default as the timings say;
                for blocking reads, more than they block.
            give_back: takes the calls that this server does not answer, for another to do; if there is none, they
                wait for the next connection.
            holds: what is asked waits a moment for a read that waits, and goes out with it.
        """
        self._connect_transport = dial
        self._name = name
        self._connection: Connection | None = None
        self._resends = resends
        self._timings = timings
        self._answer_seconds = timings.redis_answer if answer_seconds is None else answer_seconds
        self._reroute = give_back
        self._unsent: deque[PendingCommand] = deque()
        self._unanswered: deque[PendingCommand] = deque()
        self._transport: RespTransport | None = None
        self._is_flush_scheduled = False
        self._flushed_at = -math.inf
        self._holds = holds
        self._holding: asyncio.TimerHandle | None = None
        self._tending: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._connected_since: float | None = None
        self._is_sent_away = False  # by the server that was the last, with each command anew
        self._log = LogThrottle(f"{name} cannot connect", timings)
        self._errors = RedisErrorLog(name, timings)
        self.reconnections = 0
        # A node's address is left out: in a cluster they come and go.
        self._on_connection_lost = metrics.REDIS_CONNECTIONS_LOST.labels(name.partition(" ")[0]).inc
        self.reconnected: Callable[[], None] = lambda: None  # called when a lost connection is there again

    @property
    def is_connected(self) -> bool:
        return self._connected_since is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for an answer."""
        return not self._unsent and not self._unanswered

    @property
    def connected_seconds(self) -> float:
        since = self._connected_since
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    def start(self) -> None:
        """Connects, and stays connected until `stop`."""
        self._tending = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Ends the connection; what has no answer fails as `ConnectionLost`."""
        assert self._tending is not None
        # A loss in the same turn may take the cancellation's place; the flag stays.
        self._is_stopping = True
        self._tending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tending

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
        """Takes a call; it goes out in this turn of the loop, or when there is a connection again."""
        self._unsent.append(call)
        if call.command[0] in BLOCKING_READS:
            self._flush()
        elif self._holds:
            self._flush_later()
        elif not self._is_flush_scheduled and call.since >= self._flushed_at + PAUSE_SECONDS:
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
            if not self._is_sent_away:
                log.info("%s is connected", self._name)
            self._log.resolve()
            self._connected_since = asyncio.get_running_loop().time()
            if self.reconnections:
                self.reconnected()
            await self._work(connection)
        except (RedisError, OSError, TimeoutError) as error:
            self._is_sent_away = self.is_connected and isinstance(error, NOT_HERE)
            if self.is_connected:
                self.reconnections += 1
                self._on_connection_lost()
                if self._is_sent_away:
                    self._errors.record(error)
                else:
                    log.warning("%s is lost: %s", self._name, described(error))
            else:
                self._log.report(error)
        except Exception:
            log.exception("%s has a fault", self._name)
        finally:
            self._connected_since = None
            if self._connection is not None:
                self._connection.close()

    async def _connect(self) -> Connection:
        async with asyncio.timeout(2 * self._timings.redis_connect):
            self._connection = connection = await self._connect_transport()
            await connection.connect()
            # A server that is still loading its data accepts connections, but knows nothing yet.
            await connection.ask("PING")
        return connection

    async def _work(self, connection: Connection) -> None:
        """Raises what ended the connection."""
        self._transport = wire = RespTransport(connection, answered=self._answered, writable=self._schedule_flush)
        watch = asyncio.create_task(self._watch(wire))
        try:
            self._schedule_flush()
            await wire.wait_ended()
        finally:
            watch.cancel()
            self._transport = None

    def _schedule_flush(self) -> None:
        if not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        self._is_flush_scheduled = False
        self._flush()

    def _flush_later(self) -> None:
        """A read should follow, and take along what waits; should none, that goes alone."""
        if self._holding is None:
            self._holding = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._flush)

    def _flush(self) -> None:
        """Sends what has come together."""
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None
        if self._transport is not None and not self._transport.is_full and self._unsent:
            self._transport.write(self._pack_unsent())

    def _pack_unsent(self) -> bytes:
        """All that is to be sent, which from now on waits for its answers."""
        now = self._flushed_at = asyncio.get_running_loop().time()
        packed: list[bytes] = []
        while self._unsent:
            call = self._unsent.popleft()
            call.sent_at, call.is_sent = now, True
            try:
                packed.append(pack(call.command))
            except (TypeError, ValueError) as error:
                call.fail(error)  # a bug of its caller's, which shall hurt nobody else
            else:
                self._unanswered.append(call)
        return b"".join(packed)

    def _answered(self, answer: Any) -> None:
        if isinstance(answer, NOT_HERE):
            self._unanswered[0].is_sent = False  # of this one it is certain
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

    async def _watch(self, wire: RespTransport) -> None:
        """A link that is dead without a word (a cable, a firewall) shows by an answer that does not come."""
        while True:
            if not await sleeps_on_time(self._answer_seconds / 5, self._timings.late):
                continue
            now = asyncio.get_running_loop().time()
            # One that has much to answer is not dead.
            if self._unanswered and now - max(self._unanswered[0].sent_at, wire.heard_at) > self._answer_seconds:
                wire.end(TimeoutError(f"no answer for {self._answer_seconds:g} seconds"))

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
    """Refuses the calls that could not be sent for too long; returns the others."""
    too_long_ago = asyncio.get_running_loop().time() - timings.redis_command_timeout
    patient = []
    for call in waiting:
        if call.is_older_than(too_long_ago):
            call.fail(Unavailable(TOO_BUSY))
        else:
            patient.append(call)
    return patient
