"""Counters, gauges and histograms, whose values are in memory, or in files that any process of the host can read.

The files are in the form of prometheus_client's own (`prometheus_client.mmap_dict`), which adds them up for whoever
asks: see `gischat.observability.metrics`. Why not its counters: with them comes all that it can do (two web servers, a
decorator), which is a tenth of a process' start and 3 MB; whoever asks for metrics brings it in.
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

FILE_BYTES = 2**16  # to begin with
_INTEGER = struct.Struct("i")
_DOUBLE = struct.Struct("d")

Kind = TypeVar("Kind")


class Value:
    """A number, and its place in a file if it has one. Changed by one thread alone."""

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
        """Many that took as long are one addition."""
        self.sum.inc(amount * number)
        self.buckets[bisect.bisect_left(self._bounds, amount)].inc(number)


class Sample(NamedTuple):
    """What is told of a value."""

    name: str
    labels: dict[str, str]
    amount: float


class Metric(ABC, Generic[Kind]):
    """Something that is counted, by labels. Values begin with their labels, and stand where `share` said before."""

    kind: ClassVar[str]
    file: ClassVar[str]  # of its kind's files, what their names begin with

    def __init__(self, name: str, meaning: str, labels: Sequence[str]) -> None:
        self.name = name.removesuffix("_total")  # of the family: a counter's samples alone end so
        self.meaning = meaning
        self.label_names = tuple(labels)
        self._by_labels: dict[tuple[str, ...], Kind] = {}

    def labels(self, *given: str) -> Kind:
        """What is counted for these values of the labels, in their order.

        Raises:
            ValueError: they are too many or too few.
        """
        values = tuple(map(str, given))
        if values not in self._by_labels:
            if not values or len(values) != len(self.label_names):
                raise ValueError(f"{self.name} has the labels {', '.join(self.label_names)}")
            self._by_labels[values] = self._begin(dict(zip(self.label_names, values, strict=True)))
        return self._by_labels[values]

    def samples(self) -> Iterator[Sample]:
        for values, counted in list(self._by_labels.items()):  # told by a thread, while others may begin
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


class Counter(Metric[Value]):
    """What only grows."""

    kind = file = "counter"

    def _begin(self, labels: dict[str, str]) -> Value:
        return self._value(f"{self.name}_total", labels)

    def _samples(self, labels: dict[str, str], counted: Value) -> Iterator[Sample]:
        yield Sample(f"{self.name}_total", labels, counted.amount)


class Gauge(Metric[Value]):
    """What is so at the moment; added up over living processes, those of the dead are left out."""

    kind = "gauge"
    file = "gauge_livesum"

    def _begin(self, labels: dict[str, str]) -> Value:
        return self._value(self.name, labels)

    def _samples(self, labels: dict[str, str], counted: Value) -> Iterator[Sample]:
        yield Sample(self.name, labels, counted.amount)


class Histogram(Metric[Observations]):
    """How often something was of which size; each bucket has what is at most as large as its bound."""

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
    """Numbers by their keys, written where the kernel keeps them though the process be killed.

    A 4-byte integer: how many bytes are used; 4 bytes of nothing; then for each value a 4-byte integer, the length of
    its key; the key in UTF-8; 1 to 8 blanks up to a multiple of 8 bytes; the value as a double; a time, not used here.
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
        """Where the value of the key stands; a new one is 0."""
        if key not in self._places:
            self._places[key] = self._append(key.encode())
        return self._places[key]

    def read(self, place: int) -> float:
        (amount,) = _DOUBLE.unpack_from(self._map, place)
        return float(amount)

    def write(self, place: int, amount: float) -> None:
        # In one step: who reads meanwhile sees the one or the other.
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
        self._map[:4] = _INTEGER.pack(self._used)  # from here on it is read
        return start + len(entry) - 16


def _padded(length: int) -> int:
    """A key's length with its blanks: at least one, until its number and it are a multiple of 8 bytes."""
    return length + 8 - (length + 4) % 8


class _Files:
    """One process' files in a directory, one for each kind of metric."""

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
    """From here on, values that begin are in files of the process of this name."""
    global _files
    _files = _Files(directory, process)
