"""A connection's nickname: asked for until it is got, kept, given way, and told Redis again when it has lost it.

Clients send a newcomer once; what they want then they want until they say otherwise.
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
    """What a connection wants to be called; there is none for those who never said.

    `requested` is the newcomer that has not got its nickname yet.
    """

    __slots__ = ("_connection", "_job_queue", "_retry", "requested")

    def __init__(self, connection: "ClientConnection", job_queue: JobQueue) -> None:
        self.requested: Message | None = None
        self._connection = connection
        self._job_queue = job_queue
        self._retry: asyncio.TimerHandle | None = None  # that asks for it again

    @property
    def nickname(self) -> str | None:
        """The nickname that it wants and has not got, if there is one."""
        return None if self.requested is None else nickname_of(self.requested)

    def grant(self, nickname: str) -> None:
        """That nickname is its own now."""
        connection = self._connection
        if not connection.is_registered_as(nickname):
            connection.nickname = nickname
        if self.nickname is not None and folded(self.nickname) == folded(nickname):
            self.requested = None
        if (reason := connection.room.bans.ban_reason(nickname)) is not None:
            connection.kick(1008, reason)  # banned while it was on its way

    def retry_unless_taken(self, ending: JobResult) -> None:
        """Of a nickname that is taken Redis knows who waits for it; all else passes (Redis away, an inbox full)."""
        if ending.refusal_reason not in (RefusalReason.UNPROCESSABLE, RefusalReason.DUPLICATE_ID):
            self.retry_later()

    def retry_later(self) -> None:
        if self.requested is not None and self._retry is None:
            self._retry = self._call_later(self.retry)

    def retry(self) -> None:
        """Asks once more for the nickname that it waits for, if it does; nothing is said to it but of its success.

        It is the same message again: by its id the client knows what it is granted.
        """
        if self._retry is not None:
            self._retry.cancel()  # a gap asks earlier
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
        """Who does not answer asks for no nickname: two who are both gone would pass one to and fro without end."""
        if self._connection.last_received_at > since:
            self.retry()
        elif not self._connection.is_gone:
            self._call_later(self._retry_when_responsive, since)

    def yield_nickname(self) -> None:
        """Gives the nickname that it has to whoever waits for it, and waits for it in turn."""
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
        """Tells Redis again, when it has lost it, the nickname that it has, and then the one that it waits for.

        That comes before whatever it says next: nobody else shall get the nickname while it is writing.
        """
        self.retry_later()  # who has it shall be the first to say so
        connection, nickname = self._connection, self._connection.nickname
        if nickname is None:
            return

        def precondition() -> str | None:
            return None if connection.is_registered_as(nickname) else "It was given up meanwhile."

        def ended(ending: JobResult) -> None:
            if not ending.is_refusal:
                return
            if ending.refusal_reason is RefusalReason.UNPROCESSABLE:  # somebody has taken it meanwhile
                self.requested = self.requested or newcomer_message(nickname)
                connection.nickname = None
                connection.send(ending.body)
            elif not connection.is_gone:
                self._call_later(self.restore)

        message = Message(RESTORE, new_id(), msgspec.json.encode({RESTORE: nickname}))
        self._job_queue.submit(message, ended, bounded=False, precondition=precondition, is_ahead=True)

    def _call_later(self, what: Callable[..., None], *arguments: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._connection.room.timings.retry, what, *arguments)
