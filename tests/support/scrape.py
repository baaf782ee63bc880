"""What Prometheus reads at `/metrics`, parsed by its own library, and asked for single values."""

from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


class Scrape(NamedTuple):
    """One answer of `/metrics`."""

    text: str

    def samples(self, name: str, **labels: str) -> Iterator[Sample]:
        """The samples of that name that have these labels, among others."""
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    yield sample

    def value(self, name: str, **labels: str) -> float:
        """The sum of these samples; 0 where there is none, as an operator's query says."""
        return sum(sample.value for sample in self.samples(name, **labels))

    def label(self, name: str, label: str) -> set[str]:
        """The values that a label has."""
        return {sample.labels[label] for sample in self.samples(name)}

    def names(self) -> set[str]:
        """The names of all families, as their TYPE lines say."""
        return {line.split()[2] for line in self.text.splitlines() if line.startswith("# TYPE ")}
