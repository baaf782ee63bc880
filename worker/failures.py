"""Jobs that become dead letters because they failed, and the log lines about them."""

import logging

from gischat.broker.inbox_consumer import Delivery
from worker.effects import DeadLetter, Effect, FailureReason

log = logging.getLogger(__name__)

MAX_DELIVERIES = 3  # a job that did not end with so many workers gets no other


def given_up(held: Delivery) -> Effect:
    log.error("a job becomes a dead letter: %d workers did not end it", held.deliveries - 1, extra=log_fields(held))
    return DeadLetter(f"{held.deliveries - 1} workers did not end it.", failure=FailureReason.ABANDONED)


def failed(held: Delivery, error: Exception) -> Effect:
    log.error("a job becomes a dead letter: it could not be processed", exc_info=error, extra=log_fields(held))
    return DeadLetter(f"{type(error).__name__} in the worker.")


def log_fields(held: Delivery) -> dict[str, object]:
    """The fields of log lines about a job: its connection, as in its front's own log lines, and none of its content."""
    source = held.job.source
    return {
        "channel": held.channel,
        "type": held.job.type,
        "front": source.front,
        "connection": source.connection,
    }
