"""The interface to Redis: commands and scripts, the futures of their answers, and their errors.

All commands must be idempotent, because they may be executed twice (see `gischat.broker.multiplexer`); our scripts are.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

from gischat.broker.resp_errors import ResponseError
from gischat.broker.scripts import Script
from gischat.broker.transport import Argument

Decoder = Callable[[Any], Any]

TOO_BUSY = "The server cannot take messages at the moment. Please send it again later."


class ConnectionLost(ConnectionError):
    """The connection ended before the answer arrived; the command may have been executed."""


class InDoubt(ConnectionLost, ResponseError):
    """The answer is an error, but an earlier attempt was not answered: the command may have been executed."""


class PendingCommand:
    """A command and the future of its answer.

    Attributes:
        sent_at: loop time of the last attempt to send it; of its creation while there was none.
        is_sent: it was sent on the current connection, so the server may be executing it.
        is_in_doubt: a connection that it was sent on was lost, so it may have been executed.
        resends: in doubt, it is sent again; if not, it fails with `ConnectionLost`.
        decode: converts the answer to the future's result.
    """

    __slots__ = (
        "answer",
        "command",
        "decode",
        "is_in_doubt",
        "is_sent",
        "key",
        "resends",
        "script",
        "sent_at",
        "since",
    )

    def __init__(
        self,
        command: Sequence[Argument],
        key: str,
        script: Script | None = None,
        *,
        resends: bool = True,
        decode: Decoder | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.command = command
        self.key = key  # one of its keys; all are in one slot
        self.script = script
        self.answer: asyncio.Future[Any] = loop.create_future()
        self.since = self.sent_at = loop.time()
        self.is_sent = False
        self.is_in_doubt = False
        self.resends = resends
        self.decode = decode

    @classmethod
    def of(
        cls,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        *,
        resends: bool = True,
        decode: Decoder | None = None,
    ) -> Self:
        """Run a script by its digest; its whole text follows if Redis does not know it, as after a restart."""
        command = ("EVALSHA", script.digest, len(keys), *keys, *arguments)
        return cls(command, keys[0], script, resends=resends, decode=decode)

    def resolve(self, answer: Any) -> None:
        if self.answer.done():
            return
        try:
            self.answer.set_result(answer if self.decode is None else self.decode(answer))
        except Exception as error:  # a bug of the caller, which must not affect other callers
            self.answer.set_exception(error)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def is_older_than(self, then: float) -> bool:
        """Whether it has waited since before that loop time, and certainly has not been executed."""
        return not self.is_in_doubt and self.since < then


class Redis(Protocol):
    """A client of Redis: of one server, of the Sentinels' master, or of a cluster."""

    reconnected: Callable[[], None]  # called after reconnecting

    @property
    def is_connected(self) -> bool: ...

    @property
    def connected_seconds(self) -> float:
        """Seconds since it connected, 0 while disconnected; in a cluster, the shortest of all nodes' connections."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    def call(self, *command: Argument, key: str) -> "asyncio.Future[Any]":
        """Send a command; `key` is one of its keys. Returns the future of Redis' answer.

        The future fails with `Unavailable` if the command could not be sent in time, with `ResponseError` if Redis
        answers with an error (`InDoubt` if an earlier attempt may have been executed), and with `ConnectionLost` if the
        connection ended and commands are not resent.
        """

    def run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        *,
        resends: bool = True,
        decode: Decoder | None = None,
    ) -> "asyncio.Future[Any]":
        """Run a script; returns the future of its answer, which fails as that of `call`.

        Args:
            resends: send it again when it may have been executed; if False, it fails with `ConnectionLost` instead.
            decode: converts the answer to the future's result.
        """

    def disconnect(self) -> None:
        """Close a connection that does not work as it should; a new one follows at once."""
