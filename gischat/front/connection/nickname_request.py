"""A connection's nickname: requested until granted, held, yielded, and restored in Redis after a loss.

Clients send a newcomer once, and it remains valid until they send another one or an exiter.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from gischat.broker.entries import RESTORE
from gischat.errors import RefusalReason
from gischat.front.dispatch.job_queue import JobQueue
from gischat.front.dispatch.job_result import JobResult
from gischat.protocol.messages import (
    Message,
    exiter_message,
    folded,
    new_id,
    newcomer_message,
    nickname_of,
    uncompliant,
)

if TYPE_CHECKING:
    from gischat.front.connection.client_connection import ClientConnection

NICKNAME_YIELDED = (
    "Your nickname '{nickname}' has gone to somebody who asked for it, for nothing was heard from you. "
    "You get it back when it is free."
)


class NicknameRequest:
    """The nickname request of a connection; only for connections that have sent a newcomer.

    `requested` is the newcomer that is not granted yet, if any.
    """

    __slots__ = ("_connection", "_job_queue", "_retry", "requested")

    def __init__(self, connection: "ClientConnection", job_queue: JobQueue) -> None:
        self.requested: Message | None = None
        self._connection = connection
        self._job_queue = job_queue
        self._retry: asyncio.TimerHandle | None = None  # timer of the next attempt

    @property
    def nickname(self) -> str | None:
        """The requested nickname that is not granted yet, if any."""
        return None if self.requested is None else nickname_of(self.requested)

    def grant(self, nickname: str) -> None:
        """The connection has got a nickname."""
        connection = self._connection
        if not connection.is_registered_as(nickname):
            connection.nickname = nickname
        if self.nickname is not None and folded(self.nickname) == folded(nickname):
            self.requested = None
        if (reason := connection.room.bans.ban_reason(nickname)) is not None:
            connection.kick(1008, reason)  # banned meanwhile

    def retry_unless_taken(self, ending: JobResult) -> None:
        """Retry later after a temporary refusal (Redis down, inbox full); Redis keeps requests for taken nicknames."""
        if ending.refusal_reason not in (RefusalReason.UNPROCESSABLE, RefusalReason.DUPLICATE_ID):
            self.retry_later()

    def retry_later(self) -> None:
        if self.requested is not None and self._retry is None:
            self._retry = self._call_later(self.retry)

    def retry(self) -> None:
        """Request the nickname again, if the connection waits for one; the client is told only of success.

        The message has the same id, by which the client recognises what is granted.
        """
        if self._retry is not None:
            self._retry.cancel()  # retried early, after a gap
            self._retry = None
        requested, nickname = self.requested, self.nickname
        if requested is None or nickname is None or self._connection.is_gone:
            return
        if self._connection.room.bans.ban_reason(nickname) is not None:
            return

        def ended(ending: JobResult) -> None:
            if not ending.is_refusal:
                self.grant(nickname)
            elif self.nickname == nickname:
                self.retry_unless_taken(ending)

        self._job_queue.submit(requested, ended, bounded=False)

    def _retry_when_responsive(self, since: float) -> None:
        """Retry once the client has answered: two dead clients would pass a nickname back and forth for ever."""
        if self._connection.last_received_at > since:
            self.retry()
        elif not self._connection.is_gone:
            self._call_later(self._retry_when_responsive, since)

    def yield_nickname(self) -> None:
        """Give up the nickname to the client that waits for it, and wait for it in turn."""
        connection, nickname = self._connection, self._connection.nickname
        if nickname is None:
            return

        def ended(ending: JobResult) -> None:
            if not ending.is_refusal:
                connection.nickname, self.requested = None, self.requested or newcomer_message(nickname)
                connection.send(uncompliant(NICKNAME_YIELDED.format(nickname=nickname)))
                self._retry_when_responsive(asyncio.get_running_loop().time())

        self._job_queue.submit(exiter_message(nickname), ended, bounded=False)

    def restore(self) -> None:
        """Restore the held nickname in Redis after a loss, and later request the one that the connection waits for.

        It goes ahead of the connection's next messages, so that nobody else gets the nickname meanwhile.
        """
        self.retry_later()  # later, so that its holder can restore it first
        connection, nickname = self._connection, self._connection.nickname
        if nickname is None:
            return

        def precondition() -> str | None:
            return None if connection.is_registered_as(nickname) else "It was given up meanwhile."

        def ended(ending: JobResult) -> None:
            if not ending.is_refusal:
                return
            if ending.refusal_reason is RefusalReason.UNPROCESSABLE:  # taken by another client meanwhile
                self.requested = self.requested or newcomer_message(nickname)
                connection.nickname = None
                connection.send(ending.body)
            elif not connection.is_gone:
                self._call_later(self.restore)

        message = Message(RESTORE, new_id(), msgspec.json.encode({RESTORE: nickname}))
        self._job_queue.submit(message, ended, bounded=False, precondition=precondition, is_ahead=True)

    def _call_later(self, what: Callable[..., None], *arguments: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._connection.room.timings.retry, what, *arguments)
