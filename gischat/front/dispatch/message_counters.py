"""Counters of the results of clients' messages: each message once, on its sender's front."""

from collections.abc import Iterable
from itertools import product

from gischat.broker.entries import JOB_OUTCOMES, Outcome
from gischat.errors import RefusalReason
from gischat.observability import metrics
from gischat.observability.metrics import BufferedCounter

UNKNOWN_TYPE = "unknown"  # the type of an unreadable message


class MessageCounters:
    """The counters of this front."""

    def __init__(self, types: Iterable[str]) -> None:
        """Create the counters.

        Args:
            types: of clients' messages; the front's own jobs are not counted.
        """
        self._ended = {
            (type, outcome): BufferedCounter(metrics.MESSAGES.labels(type, outcome))
            for type, outcome in product(types, JOB_OUTCOMES)
        }
        for cause in RefusalReason:  # create them at 0, so that Prometheus sees the first refusal as an increase
            metrics.MESSAGES_REFUSED.labels(cause)

    def count_result(self, type: str, outcome: Outcome, cause: RefusalReason) -> None:
        """Count the result of a message's job; `cause` is the reason if it was refused."""
        ended = self._ended.get((type, outcome))
        if ended is None:
            return
        ended.total += 1
        if outcome is Outcome.REFUSED:
            metrics.MESSAGES_REFUSED.labels(cause).inc()

    def count_live(self, type: str) -> None:
        """Count an accepted message that needs no job."""
        self._ended[type, Outcome.PUBLISHED].total += 1

    def count_refusal(self, cause: RefusalReason, type: str = UNKNOWN_TYPE) -> None:
        """Count a message that was refused before it became a job."""
        metrics.MESSAGES.labels(type, Outcome.REFUSED).inc()
        metrics.MESSAGES_REFUSED.labels(cause).inc()
