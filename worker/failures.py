"""Jobs that become dead letters because they failed, and the log lines about them."""

import logging

from gischat.broker.inbox_consumer import Delivery
from worker.effects import DeadLetter, Effect, FailureReason

log = logging.getLogger(__name__)

MAX_DELIVERIES = 3  # a job that has taken so many workers with it gets no other


def given_up(held: Delivery) -> Effect:
    log.error("a job becomes a dead letter: %d workers did not end it", held.deliveries - 1, extra=log_fields(held))
    return DeadLetter(f"{held.deliveries - 1} workers did not end it.", failure=FailureReason.ABANDONED)


def failed(held: Delivery, error: Exception) -> Effect:
    log.error("a job becomes a dead letter: it could not be processed", exc_info=error, extra=log_fields(held))
    return DeadLetter(f"{type(error).__name__} in the worker.")


def log_fields(held: Delivery) -> dict[str, object]:
    """What log lines about a job bear: nothing of what is in it, but whose it is, as its front's own lines say."""
    source = held.job.source
    return {
        "channel": held.channel,
        "type": held.job.type,
        "front": source.front,
        "connection": source.connection,
    }
