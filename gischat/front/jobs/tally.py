"""How clients' messages end, counted: each once, in the front that its sender is connected to."""

from collections.abc import Iterable
from itertools import product

from gischat import metrics
from gischat.errors import Cause
from gischat.metrics import Gathered
from gischat.streams.entries import OF_JOBS, Outcome

UNKNOWN = "unknown"  # the type of a message that could not be read


class Tally:
    """Counts of this front."""

    def __init__(self, types: Iterable[str]) -> None:
        """
        Args:
            types: of the messages that clients may send; jobs of the front's own are of no interest.
        """
        self._ended = {
            (type, outcome): Gathered(metrics.MESSAGES.labels(type, outcome))
            for type, outcome in product(types, OF_JOBS)
        }
        for cause in Cause:  # so that the first of its kind is an increase
            metrics.MESSAGES_REFUSED.labels(cause)

    def ended(self, type: str, outcome: Outcome, cause: Cause) -> None:
        """A message's job has ended; `cause` is why, if it was refused."""
        ended = self._ended.get((type, outcome))
        if ended is None:
            return
        ended.total += 1
        if outcome is Outcome.REFUSED:
            metrics.MESSAGES_REFUSED.labels(cause).inc()

    def refused(self, cause: Cause, type: str = UNKNOWN) -> None:
        """A message has become no job."""
        metrics.MESSAGES.labels(type, Outcome.REFUSED).inc()
        metrics.MESSAGES_REFUSED.labels(cause).inc()
