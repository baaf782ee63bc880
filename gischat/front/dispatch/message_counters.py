"""How clients' messages end, counted: each once, in the front that its sender is connected to."""

from collections.abc import Iterable
from itertools import product

from gischat.broker.entries import JOB_OUTCOMES, Outcome
from gischat.errors import RefusalReason
from gischat.observability import metrics
from gischat.observability.metrics import BufferedCounter

UNKNOWN_TYPE = "unknown"  # the type of a message that could not be read


class MessageCounters:
    """Counts of this front."""

    def __init__(self, types: Iterable[str]) -> None:
        """
        Args:
            types: of the messages that clients may send; jobs of the front's own are of no interest.
        """
        self._ended = {
            (type, outcome): BufferedCounter(metrics.MESSAGES.labels(type, outcome))
            for type, outcome in product(types, JOB_OUTCOMES)
        }
        for cause in RefusalReason:  # so that the first of its kind is an increase
            metrics.MESSAGES_REFUSED.labels(cause)

    def count_result(self, type: str, outcome: Outcome, cause: RefusalReason) -> None:
        """A message's job has ended; `cause` is why, if it was refused."""
        ended = self._ended.get((type, outcome))
        if ended is None:
            return
        ended.total += 1
        if outcome is Outcome.REFUSED:
            metrics.MESSAGES_REFUSED.labels(cause).inc()

    def count_live(self, type: str) -> None:
        """A message that takes no job was accepted."""
        self._ended[type, Outcome.PUBLISHED].total += 1

    def count_refusal(self, cause: RefusalReason, type: str = UNKNOWN_TYPE) -> None:
        """A message has become no job."""
        metrics.MESSAGES.labels(type, Outcome.REFUSED).inc()
        metrics.MESSAGES_REFUSED.labels(cause).inc()
