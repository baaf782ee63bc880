"""What fronts and workers see of Redis: commands and scripts, the futures of their answers, and how they fail.

Commands given here must bear being carried out twice (see `gischat.broker.multiplexer`); every script of ours does.
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
    """The connection ended before the answer came; the command may have been carried out."""


class InDoubt(ConnectionLost, ResponseError):
    """The answer is an error, but the command had been sent before, without an answer: it may have been carried out."""


class PendingCommand:
    """A command on its way, and the future of its answer.

    `sent_at` is when it was last sent; `is_sent`, that the server may be at it; `is_in_doubt`, that it was sent over a
    connection that was lost: then it may have been carried out, and is sent again until that is known, or, where it is
    not to be (`resends`), fails as `ConnectionLost`. `decode` makes of what Redis answers what the future has.
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
        self.key = key  # one of its keys: they are all in one slot
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
        """A script by its digest; one that Redis does not know (it was restarted) is sent whole later."""
        command = ("EVALSHA", script.digest, len(keys), *keys, *arguments)
        return cls(command, keys[0], script, resends=resends, decode=decode)

    def resolve(self, answer: Any) -> None:
        if self.answer.done():
            return
        try:
            self.answer.set_result(answer if self.decode is None else self.decode(answer))
        except Exception as error:  # a bug of its caller's, which shall hurt nobody else
            self.answer.set_exception(error)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def is_older_than(self, then: float) -> bool:
        """Whether it has waited since before then for a server that carries it out, and certainly none has."""
        return not self.is_in_doubt and self.since < then


class Redis(Protocol):
    """What fronts and workers see of Redis, be it one server, a Sentinel's or a cluster."""

    reconnected: Callable[[], None]  # called when a lost connection is there again

    @property
    def is_connected(self) -> bool: ...

    @property
    def connected_seconds(self) -> float:
        """How long the connection (in a cluster: each one) has held; 0 when there is none."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    def call(self, *command: Argument, key: str) -> "asyncio.Future[Any]":
        """Sends a command that is about `key`; the future has Redis' answer.

        It fails with `Unavailable` when the command could not be sent in time, with `ResponseError` when Redis
        answers an error (`InDoubt` when that says nothing about the first time), with `ConnectionLost` when the
        connection ended and commands are not to be sent again.
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
        """Runs a script.

        Args:
            resends: it is sent again when it may have been carried out; if not, it fails as `ConnectionLost`.
            decode: makes of its answer what the future has.
        """

    def disconnect(self) -> None:
        """Ends the connection, for it does not do what it should; the next is made at once."""
