"""Foreign entries of streams: gischat did not write them, and cannot decode them. Readers skip them."""

from gischat.broker.log_throttle import LogThrottle
from gischat.observability import metrics
from gischat.timings import Timings


class ForeignEntries:
    """Counts the foreign entries that one reader skips; logs the first at once, then one a minute."""

    def __init__(self, timings: Timings = Timings()) -> None:
        what = "a stream has entries that gischat did not write; they are skipped"
        self._log = LogThrottle(what, timings, patience=0.0)

    def record(self, key: str, id: bytes) -> None:
        """Count an entry.

        Args:
            key: the stream's.
            id: the entry's.
        """
        metrics.FOREIGN_ENTRIES.labels(key.partition("}:")[2]).inc()
        self._log.report(ValueError(f"{key} {id.decode()}"))
