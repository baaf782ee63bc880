"""The metrics as a scrape gets them, of one process or of all that share a directory.

prometheus_client is imported on the first scrape: it takes a tenth of a process' start-up time.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gischat.observability import multiprocess
from gischat.observability.metrics import METRICS

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class Exposition:
    """The metrics of all processes that share a directory, or without one, of this process alone."""

    def __init__(self, directory: str, others: Callable[[], Iterable["Metric"]] = list) -> None:
        """
        Args:
            others: makes further metrics, which are read from Redis.
        """
        self._directory = directory
        self._others = others

    def collect(self) -> Iterable["Metric"]:
        yield from self._shared() if self._directory else self._own()
        yield from self._others()

    def encode(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format that an `Accept` header asks for, and its content type."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self), content_type

    def _own(self) -> Iterable["Metric"]:
        from prometheus_client.metrics_core import Metric

        for metric in METRICS:
            family = Metric(metric.name, metric.meaning, metric.kind)
            for sample in metric.samples():
                family.add_sample(*sample)
            yield family

    def _shared(self) -> Iterable["Metric"]:
        from prometheus_client.multiprocess import MultiProcessCollector

        living = multiprocess.living(self._directory)
        files = [
            str(path)
            for path in Path(self._directory).glob("*.db")
            if not path.name.startswith("gauge_") or path.stem.rpartition("_")[2] in living
        ]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return merged
