"""Prometheus metrics: every metric with its name, labels and unit; documented in docs/metrics.md.

An increment takes some microseconds, which is fine for rare events: `CONNECTIONS_CLOSED.labels(reason).inc()`. What is
counted for every message uses a `BufferedCounter`: an addition, flushed a little later. Labels have few values:
configured channels, the contract's types, enumerated reasons.

Processes of a host that share a directory (`PROMETHEUS_MULTIPROC_DIR`) keep their values in files in it, so that each
of them can report the metrics of all: see `multiprocess`. For this reason every metric has a label: a value is created
with its labels, when the directory is known; one without labels would be created on import.
"""

import asyncio
import contextlib
import fcntl
import itertools
import os
import platform
import re
import resource
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gischat import __version__
from gischat.observability.counter_files import Counter, Gauge, Histogram, Value, share

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class CloseReason(StrEnum):
    """Why the server closed a client's connection."""

    SLOW_CLIENT = "slow_client"  # did not read what was sent to it
    PING_TIMEOUT = "ping_timeout"
    HISTORY_TIMEOUT = "history_timeout"  # the join buffer overflowed before the history could be read
    MODERATOR = "moderator"  # banned or kicked
    SHUTTING_DOWN = "shutting_down"  # the front is shutting down
    RATE_LIMIT_ABUSE = "rate_limit_abuse"  # kept exceeding the rate limit after being told to wait
    TOO_LARGE = "too_large"  # announced a frame too long even to be read and discarded
    SLOW_UPLOAD = "slow_upload"  # a message under way made no progress
    PROTOCOL_ERROR = "protocol_error"  # violated RFC 6455
    MEMORY = "memory"  # had the most buffered of all clients when the memory budget was exhausted


class RejectReason(StrEnum):
    """Why a request or a websocket was rejected, or a connection was closed before it made a request."""

    CONNECTIONS = "connections"  # the front's connection limit
    ADDRESS_CONNECTIONS = "address_connections"  # the address' connection limit
    ADDRESS_REQUESTS = "address_requests"  # the address' request rate limit
    PENDING_CONNECTIONS = "pending_connections"  # too many idle connections, of which this was the oldest
    SLOW_REQUEST = "slow_request"  # the client sent its request, or read the answer, too slowly
    ACCEPT = "accept"  # no file descriptor or memory left to accept it; counts pauses of the listener
    UNKNOWN_CHANNEL = "unknown_channel"
    TOKEN = "token"  # the token of a private channel is missing or wrong
    KEY = "key"  # the key in its address is none, or not any more
    ORIGIN = "origin"  # a page of another site
    BANNED = "banned"  # the address is banned


class Delay(StrEnum):
    """Why reading from a connection was paused."""

    ADDRESS_REFUSALS = "address_refusals"  # too many of its address' messages were refused


METRICS: list[Counter | Gauge | Histogram] = []


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    METRICS.append(counter := Counter(f"gischat_{name}", meaning, labels))
    return counter


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    METRICS.append(gauge := Gauge(f"gischat_{name}", meaning, labels))
    return gauge


UP_TO_FIVE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)  # bounds of buckets


def _histogram(name: str, meaning: str, *labels: str, buckets: Sequence[float]) -> Histogram:
    METRICS.append(histogram := Histogram(f"gischat_{name}", meaning, labels, buckets))
    return histogram


class BufferedCounter:
    """A counter for the hot path: add to `total`; `flush_buffered` passes the increase on to the metric."""

    __slots__ = ("__weakref__", "_counter", "_flushed", "total")

    def __init__(self, counter: Value) -> None:
        self.total = 0
        self._flushed = 0
        self._counter = counter
        _buffered.add(self)

    def flush(self) -> None:
        if self.total != self._flushed:
            self._counter.inc(self.total - self._flushed)
            self._flushed = self.total


_buffered: "weakref.WeakSet[BufferedCounter]" = weakref.WeakSet()


def flush_buffered() -> None:
    """Flush all buffered counters of this process; call it in the thread that adds to them."""
    for counter in _buffered:
        counter.flush()


# Clients

CLIENTS = _gauge("clients", "Websocket connections, over all fronts of this host.", "channel")
LIVE_POSITIONS = _gauge("live_positions", "Clients that share where they are, over all fronts of this host.", "channel")
CONNECTIONS = _counter("connections_total", "Websocket connections that joined a channel.", "channel")
CONNECTIONS_REFUSED = _counter("connections_refused_total", "Websockets and requests that were rejected.", "reason")
CONNECTIONS_CLOSED = _counter("connections_closed_total", "Connections that the server closed.", "reason")

READING_DELAYED = _counter("reading_delayed_total", "Times that reading from a connection was paused.", "reason")

# Messages

MESSAGES = _counter("messages_total", "Messages from clients, by outcome.", "type", "outcome")
MESSAGES_REFUSED = _counter("messages_refused_total", "Messages that were refused, by reason.", "reason")
RECEIVED_BYTES = _counter("received_bytes_total", "Bytes received from websocket clients.", "channel")
SENT_BYTES = _counter("sent_bytes_total", "Bytes of websocket frames sent to clients.", "channel")
DELIVERIES = _counter("deliveries_total", "Messages sent to clients, each counted once per client.", "channel")
PUBLICATIONS_MISSED = _counter(
    "publications_missed_total", "Publications that a front missed: trimmed before it could read them.", "channel"
)

# Jobs

JOB_SECONDS = _histogram(
    "job_duration_seconds",
    "Time that a worker takes for a job.",
    "type",
    buckets=(*UP_TO_FIVE_SECONDS, 10, 30),
)
JOBS_DEAD_LETTERED = _counter("jobs_dead_lettered_total", "Failed jobs that became dead letters.", "reason")
GEOPACKAGES = _counter("geopackages_total", "GeoPackages requested, by outcome.", "outcome")
PLACES = _counter("places_total", "Messages that can have a place on the map, by outcome.", "type", "outcome")
JOBS_RECLAIMED = _counter("jobs_reclaimed_total", "Jobs reclaimed from dead workers.", "lane")

# Bridges

BRIDGE_UP = _gauge("bridge_up", "1 while a bridge reaches the other chat, else 0.", "bridge")
BRIDGE_MESSAGES = _counter(
    "bridge_messages_total",
    "Messages between channels and other chats, by direction (in: to a channel) and by what came of it.",
    "bridge",
    "direction",
    "outcome",
)
BRIDGE_RETRIES = _counter(
    "bridge_retries_total", "Attempts to reach another chat that failed and are repeated.", "bridge", "reason"
)

# The process and its surroundings

HEARTBEAT_SECONDS = _histogram(
    "heartbeat_duration_seconds",
    "Round trip of a front's heartbeat through Redis and a light worker.",
    "channel",
    buckets=UP_TO_FIVE_SECONDS,
)
READY = _gauge("ready", "1 while the front receives its heartbeats and accepts clients, else 0.", "process")
REDIS_CONNECTIONS_LOST = _counter(
    "redis_connections_lost_total", "Connections to Redis that were lost and re-established.", "connection"
)
LOOP_LAG_SECONDS = _histogram(
    "event_loop_lag_seconds",
    "Delay of timers in the event loop.",
    "process",
    buckets=UP_TO_FIVE_SECONDS,
)
CPU_SECONDS = _counter("process_cpu_seconds_total", "User and system time; without a heavy worker's child.", "process")
MEMORY_BYTES = _gauge("process_resident_memory_bytes", "Resident memory; without a heavy worker's child.", "process")
BUILD_INFO = _gauge("build_info", "1 for each running process.", "process", "version", "python")


# Sampling


async def sample_process(name: str, interval: float) -> None:
    """Measure this process and flush its counters, once per interval, until cancelled."""
    BUILD_INFO.labels(name, __version__, platform.python_version()).set(1)
    lag, cpu, memory = LOOP_LAG_SECONDS.labels(name), CPU_SECONDS.labels(name), MEMORY_BYTES.labels(name)
    used = 0.0
    try:
        while True:
            now = time.process_time()
            cpu.inc(now - used)
            used = now
            memory.set(_resident_bytes())
            flush_buffered()
            due = time.monotonic() + interval
            await asyncio.sleep(interval)
            lag.observe(max(time.monotonic() - due, 0.0))
    finally:
        flush_buffered()


def _resident_bytes() -> int:
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # the peak so far; in bytes on macOS


# Multiprocess


@contextlib.contextmanager
def multiprocess(directory: str, kind: str, name: str = "") -> Iterator[str]:
    """Keep this process' metrics in files in `directory`, beside those of the host's other processes.

    Yields the name of the files: `name` (letters, digits, `.` and `-`), or if that is taken or empty, the first free
    one of kind-1, kind-2, …. A process that reuses a dead one's name continues its counters, so the files stay few and
    a restart loses no counts. Gauges end with their process.

    Raises:
        OSError: the directory cannot be created or written.
    """
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    with _take_name(directory, kind, name) as lock:
        taken = Path(lock.name).stem
        for stale in Path(directory).glob(f"gauge_*_{taken}.db"):
            stale.unlink()
        share(Path(directory), taken)
        yield taken


def _take_name(directory: str, kind: str, name: str) -> IO[str]:
    """Lock a free name; returns the lock file. The kernel releases the lock however the process ends."""
    numbered = (f"{kind}-{number}" for number in itertools.count(1))
    wished = [re.sub(r"[^A-Za-z0-9.-]", "-", name)] if name else []  # the library splits file names at each `_`
    with _looking(directory, fcntl.LOCK_EX):
        for candidate in itertools.chain(wished, numbered):
            lock = Path(directory, f"{candidate}.lock").open("a")  # noqa: SIM115 - open as long as it is ours
            if _lock(lock, fcntl.LOCK_EX):
                return lock
            lock.close()
    raise AssertionError("numbers do not end")


def _living(directory: str) -> set[str]:
    """The names of the live processes."""
    living = set()
    with _looking(directory, fcntl.LOCK_SH):
        for path in Path(directory).glob("*.lock"):
            with path.open() as lock:
                if not _lock(lock, fcntl.LOCK_SH):
                    living.add(path.stem)
    return living


@contextlib.contextmanager
def _looking(directory: str, how: int) -> Iterator[None]:
    """Lock the directory: `_living` tries the names' locks for a moment, which must not disturb `_take_name`."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _lock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# Exposition


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
        """The metrics in the format that an `Accept` header asks for, and its content type.

        prometheus_client is imported on the first scrape: it takes a tenth of a process' start-up time.
        """
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        encoder, content_type = choose_encoder(accept)
        registry = CollectorRegistry()
        registry.register(self)
        encode: Callable[[CollectorRegistry], bytes] = encoder
        return encode(registry), content_type

    def _own(self) -> Iterable["Metric"]:
        from prometheus_client.metrics_core import Metric

        for metric in METRICS:
            family = Metric(metric.name, metric.meaning, metric.kind)
            for sample in metric.samples():
                family.add_sample(*sample)
            yield family

    def _shared(self) -> Iterable["Metric"]:
        from prometheus_client.multiprocess import MultiProcessCollector

        living = _living(self._directory)
        files = [
            str(path)
            for path in Path(self._directory).glob("*.db")
            if not path.name.startswith("gauge_") or path.stem.rpartition("_")[2] in living
        ]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return merged
