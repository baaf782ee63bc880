"""Foreign entries of streams: gischat did not write them, and cannot decode them. Readers skip them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from gischat.broker.log_throttle import LogThrottle
from gischat.observability import metrics
from gischat.timings import Timings

Decoded = TypeVar("Decoded")


class ForeignEntries:
    """Counts the foreign entries that one reader skips; logs the first at once, then one a minute."""

    def __init__(self, timings: Timings = Timings()) -> None:
        what = "a stream has entries that gischat did not write; they are skipped"
        self._log = LogThrottle(what, timings, patience=0.0)

    def skip(
        self,
        key: str,
        entries: Iterable[tuple[bytes, Sequence[bytes]]],
        decode: Callable[[bytes, Sequence[bytes]], Decoded],
    ) -> Iterator[Decoded]:
        """Decode the entries of a stream but for foreign ones: those for which `decode` raises ValueError.

        Args:
            key: the stream's.
            entries: the id and the fields of each, as Redis answers.
        """
        for id, fields in entries:
            try:
                decoded = decode(id, fields)
            except ValueError:
                self.record(key, id)
            else:
                yield decoded

    def record(self, key: str, id: bytes) -> None:
        """Count an entry.

        Args:
            key: the stream's.
            id: the entry's.
        """
        metrics.FOREIGN_ENTRIES.labels(key.partition("}:")[2]).inc()
        self._log.report(ValueError(f"{key} {id.decode()}"))
