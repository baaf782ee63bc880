"""How a job ends, and what comes of enqueueing it, in words for its sender."""

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
    """How a job ended; `body` is what was published, or the `uncompliant` that tells its sender why it was not."""

    outcome: Outcome
    body: bytes
    refusal_reason: RefusalReason = RefusalReason.UNPROCESSABLE  # of a refusal
    is_broadcast: bool = False  # the connection gets the body as all others do

    @classmethod
    def of(cls, refusal: Unavailable, message: Message) -> Self:
        return cls(Outcome.REFUSED, uncompliant(message.refused(refusal.reason)), refusal.cause)

    @property
    def is_refusal(self) -> bool:
        return self.outcome in (Outcome.REFUSED, Outcome.DEAD_LETTERED)


def enqueue_refusal(taken: "asyncio.Future[EnqueueResult]") -> Unavailable | None:
    """Why a job was not enqueued, in words for its sender; None when it was."""
    if taken.cancelled():
        return Unavailable(SERVER_FULL[0], RefusalReason.SHUTTING_DOWN)
    error = taken.exception()
    if isinstance(error, Unavailable):
        return error
    if isinstance(error, RedisError | ConnectionLost):  # which the connection to it complains of
        return Unavailable(TOO_BUSY)
    if error is not None:
        log.error("a job could not be enqueued", exc_info=error)
        return Unavailable(SERVER_FULL[0], RefusalReason.INTERNAL_ERROR)
    if taken.result().is_enqueued:
        return None
    return Unavailable(*_REFUSALS.get(taken.result().status, SERVER_FULL))


_REFUSALS = {
    EnqueueStatus.FROZEN: (CHANNEL_FROZEN, RefusalReason.FROZEN),
    EnqueueStatus.ADDRESS_QUEUE_FULL: ADDRESS_FULL,
    EnqueueStatus.DAMAGED: (CHANNEL_DAMAGED, RefusalReason.DAMAGED),
}


def is_state_lost(taken: "asyncio.Future[EnqueueResult]") -> bool:
    return not taken.cancelled() and taken.exception() is None and taken.result().status is EnqueueStatus.STATE_LOST


def is_in_doubt(taken: "asyncio.Future[EnqueueResult]") -> bool:
    """Whether the job may have been taken: the connection was lost before the answer came."""
    return not taken.cancelled() and isinstance(taken.exception(), ConnectionLost)
