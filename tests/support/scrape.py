"""Queries of a `/metrics` answer, parsed by Prometheus' own library."""

from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


class Scrape(NamedTuple):
    """An answer of `/metrics`."""

    text: str

    def samples(self, name: str, **labels: str) -> Iterator[Sample]:
        """The samples of that name with at least these labels."""
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    yield sample

    def value(self, name: str, **labels: str) -> float:
        """The sum of these samples, 0 if there are none."""
        return sum(sample.value for sample in self.samples(name, **labels))

    def label(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples(name)}

    def names(self) -> set[str]:
        """The names of all families, from their TYPE lines."""
        return {line.split()[2] for line in self.text.splitlines() if line.startswith("# TYPE ")}
