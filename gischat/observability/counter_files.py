"""Counters, gauges and histograms, with values in memory or in memory-mapped files shared by the host's processes.

The files have the format of `prometheus_client.mmap_dict`, so prometheus_client can add them up on a scrape: see
`gischat.observability.metrics`. Why not its own counters: importing it (with two web servers and a decorator) takes a
tenth of a process' start-up time and 3 MB. It is imported on the first scrape.
"""

import bisect
import math
import mmap
import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Generic, NamedTuple, TypeVar

import msgspec

FILE_BYTES = 2**16  # initial size; doubled as needed
_INTEGER = struct.Struct("i")
_DOUBLE = struct.Struct("d")

Kind = TypeVar("Kind")


class Value:
    """A number, mirrored in a file if metrics are shared. Only one thread may change it."""

    __slots__ = ("_file", "_place", "amount")

    def __init__(self, file: "ValuesFile | None" = None, key: str = "") -> None:
        self._file = file
        self._place = file.place_of(key) if file else 0
        self.amount = file.read(self._place) if file else 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.set(self.amount + amount)

    def set(self, amount: float) -> None:
        self.amount = amount
        if self._file is not None:
            self._file.write(self._place, amount)


class Observations:
    """A histogram's values for one set of labels."""

    __slots__ = ("_bounds", "buckets", "sum")

    def __init__(self, total: Value, buckets: Mapping[float, Value]) -> None:
        self.sum = total
        self._bounds = list(buckets)
        self.buckets = list(buckets.values())

    def observe(self, amount: float) -> None:
        self.observe_many(amount, 1)

    def observe_many(self, amount: float, number: int) -> None:
        """Count `number` observations of the same amount in one addition."""
        self.sum.inc(amount * number)
        self.buckets[bisect.bisect_left(self._bounds, amount)].inc(number)


class Sample(NamedTuple):
    """A value as it is exposed."""

    name: str
    labels: dict[str, str]
    amount: float


class Metric(ABC, Generic[Kind]):
    """A metric with labels. Each set of labels gets a value on first use: in a file if `share` was called before."""

    kind: ClassVar[str]
    file: ClassVar[str]  # prefix of the file names of its kind

    def __init__(self, name: str, meaning: str, labels: Sequence[str]) -> None:
        self.name = name.removesuffix("_total")  # the family's name; only a counter's samples end in _total
        self.meaning = meaning
        self.label_names = tuple(labels)
        self._by_labels: dict[tuple[str, ...], Kind] = {}

    def labels(self, *given: str) -> Kind:
        """The value for these values of the labels, in the labels' order.

        Raises:
            ValueError: too many or too few.
        """
        values = tuple(map(str, given))
        if values not in self._by_labels:
            if not values or len(values) != len(self.label_names):
                raise ValueError(f"{self.name} has the labels {', '.join(self.label_names)}")
            self._by_labels[values] = self._begin(dict(zip(self.label_names, values, strict=True)))
        return self._by_labels[values]

    def samples(self) -> Iterator[Sample]:
        for values, counted in list(self._by_labels.items()):  # a copy: read in a thread, while new values may be added
            yield from self._samples(dict(zip(self.label_names, values, strict=True)), counted)

    def _value(self, name: str, labels: Mapping[str, str]) -> Value:
        if _files is None:
            return Value()
        key = msgspec.json.encode([self.name, name, labels, self.meaning]).decode()
        return Value(_files.of_kind(self.file), key)

    @abstractmethod
    def _begin(self, labels: dict[str, str]) -> Kind: ...

    @abstractmethod
    def _samples(self, labels: dict[str, str], counted: Kind) -> Iterator[Sample]: ...


class _Number(Metric[Value]):
    suffix: ClassVar[str] = ""  # of its samples' name

    def _begin(self, labels: dict[str, str]) -> Value:
        return self._value(self.name + self.suffix, labels)

    def _samples(self, labels: dict[str, str], counted: Value) -> Iterator[Sample]:
        yield Sample(self.name + self.suffix, labels, counted.amount)


class Counter(_Number):
    """A number that only grows."""

    kind = file = "counter"
    suffix = "_total"


class Gauge(_Number):
    """A momentary number; summed over live processes, without those of dead ones."""

    kind = "gauge"
    file = "gauge_livesum"


class Histogram(Metric[Observations]):
    """A distribution; each bucket counts the observations up to its bound."""

    kind = file = "histogram"

    def __init__(self, name: str, meaning: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__(name, meaning, labels)
        self._bounds = {float(bound): str(float(bound)) for bound in bounds} | {math.inf: "+Inf"}

    def _begin(self, labels: dict[str, str]) -> Observations:
        buckets = {
            bound: self._value(f"{self.name}_bucket", labels | {"le": written})
            for bound, written in self._bounds.items()
        }
        return Observations(self._value(f"{self.name}_sum", labels), buckets)

    def _samples(self, labels: dict[str, str], counted: Observations) -> Iterator[Sample]:
        number = 0.0
        for written, bucket in zip(self._bounds.values(), counted.buckets, strict=True):
            number += bucket.amount
            yield Sample(f"{self.name}_bucket", labels | {"le": written}, number)
        yield Sample(f"{self.name}_count", labels, number)
        yield Sample(f"{self.name}_sum", labels, counted.sum.amount)


# Files


class ValuesFile:
    """Numbers by key in a memory-mapped file, which survives the process being killed.

    Format: the number of used bytes as a 4-byte integer; 4 unused bytes; then for each value: the length of its key as
    a 4-byte integer; the key in UTF-8; 1 to 8 spaces up to a multiple of 8 bytes; the value as a double; a timestamp,
    unused here.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        if not os.fstat(self._file.fileno()).st_size:
            self._file.truncate(FILE_BYTES)
        self._map = mmap.mmap(self._file.fileno(), 0)
        (self._used,) = _INTEGER.unpack_from(self._map)
        self._used = self._used or 8
        self._places = dict(self._found())

    def place_of(self, key: str) -> int:
        """The offset of a key's value; a new key is appended with the value 0."""
        if key not in self._places:
            self._places[key] = self._append(key.encode())
        return self._places[key]

    def read(self, place: int) -> float:
        (amount,) = _DOUBLE.unpack_from(self._map, place)
        return float(amount)

    def write(self, place: int, amount: float) -> None:
        # A single copy: a concurrent reader sees the old or the new value.
        self._map[place : place + 8] = _DOUBLE.pack(amount)

    def _found(self) -> Iterator[tuple[str, int]]:
        at = 8
        while at < self._used:
            (length,) = _INTEGER.unpack_from(self._map, at)
            key = self._map[at + 4 : at + 4 + length].decode()
            at += 4 + _padded(length)
            yield key, at
            at += 16

    def _append(self, key: bytes) -> int:
        entry = _INTEGER.pack(len(key)) + key.ljust(_padded(len(key))) + bytes(16)
        start: int = self._used
        self._used += len(entry)
        if self._used > len(self._map):
            self._file.truncate(2 * len(self._map))
            self._map = mmap.mmap(self._file.fileno(), 0)
        self._map[start : self._used] = entry
        self._map[:4] = _INTEGER.pack(self._used)  # last, so that readers see only whole entries
        return start + len(entry) - 16


def _padded(length: int) -> int:
    """A key's padded length: at least one space, so that the length field and the key fill a multiple of 8 bytes."""
    return length + 8 - (length + 4) % 8


class _Files:
    """The files of one process in a directory, one per kind of metric."""

    def __init__(self, directory: Path, process: str) -> None:
        self._directory = directory
        self._process = process
        self._by_kind: dict[str, ValuesFile] = {}

    def of_kind(self, kind: str) -> ValuesFile:
        if kind not in self._by_kind:
            self._by_kind[kind] = ValuesFile(self._directory / f"{kind}_{self._process}.db")
        return self._by_kind[kind]


_files: _Files | None = None


def share(directory: Path, process: str) -> None:
    """Keep values that are created from now on in the files of the process with this name."""
    global _files
    _files = _Files(directory, process)
