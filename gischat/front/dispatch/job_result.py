"""The result of a job or of its enqueueing, and its wording for the sender."""

import asyncio
import logging
from typing import NamedTuple, Self

from gischat.broker.client import TOO_BUSY, ConnectionLost
from gischat.broker.entries import Outcome
from gischat.broker.inbox import EnqueueResult, EnqueueStatus
from gischat.broker.resp_errors import RedisError
from gischat.errors import RefusalReason, Unavailable
from gischat.front.limits.admission import ADDRESS_FULL, SERVER_FULL
from gischat.protocol.messages import Message, uncompliant

log = logging.getLogger(__name__)

CHANNEL_FROZEN = "This channel is frozen: it can be read, but nobody can write in it at the moment. It was not sent."
CHANNEL_DAMAGED = (
    "This channel's data on the server is damaged: nothing can be sent here until its operator has repaired it. "
    "It was not sent."
)


class JobResult(NamedTuple):
    """The result of a job; `body` is the published message, or the `uncompliant` for its sender."""

    outcome: Outcome
    body: bytes
    refusal_reason: RefusalReason = RefusalReason.UNPROCESSABLE  # if it was refused
    is_broadcast: bool = False  # the connection receives the body like all others

    @classmethod
    def of(cls, refusal: Unavailable, message: Message) -> Self:
        return cls(Outcome.REFUSED, uncompliant(message.refused(refusal.reason)), refusal.cause)

    @property
    def is_refusal(self) -> bool:
        return self.outcome in (Outcome.REFUSED, Outcome.DEAD_LETTERED)


def enqueue_refusal(enqueued: "asyncio.Future[EnqueueResult]") -> Unavailable | None:
    """Why a job was not enqueued, worded for its sender; None if it was."""
    if enqueued.cancelled():
        return Unavailable(SERVER_FULL[0], RefusalReason.SHUTTING_DOWN)
    error = enqueued.exception()
    if isinstance(error, Unavailable):
        return error
    if isinstance(error, RedisError | ConnectionLost):  # logged by the connection to Redis
        return Unavailable(TOO_BUSY)
    if error is not None:
        log.error("a job could not be enqueued", exc_info=error)
        return Unavailable(SERVER_FULL[0], RefusalReason.INTERNAL_ERROR)
    if enqueued.result().is_enqueued:
        return None
    return Unavailable(*_REFUSALS.get(enqueued.result().status, SERVER_FULL))


_REFUSALS = {
    EnqueueStatus.FROZEN: (CHANNEL_FROZEN, RefusalReason.FROZEN),
    EnqueueStatus.ADDRESS_QUEUE_FULL: ADDRESS_FULL,
    EnqueueStatus.DAMAGED: (CHANNEL_DAMAGED, RefusalReason.DAMAGED),
}


def is_state_lost(enqueued: "asyncio.Future[EnqueueResult]") -> bool:
    return (
        not enqueued.cancelled()
        and enqueued.exception() is None
        and enqueued.result().status is EnqueueStatus.STATE_LOST
    )


def is_in_doubt(enqueued: "asyncio.Future[EnqueueResult]") -> bool:
    """Whether the job may have been enqueued: the connection was lost before the answer arrived."""
    return not enqueued.cancelled() and isinstance(enqueued.exception(), ConnectionLost)
