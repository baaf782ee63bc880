"""What a process counts for Prometheus: every metric, by name, label and unit; documented in docs/metrics.md.

Counting costs some microseconds, which is nothing for what is rare: `CONNECTIONS_CLOSED.labels(reason).inc()`. What
happens with every message is `BufferedCounter`: an addition, told a little later. Labels have few values: channels are
configured, types are the contract's, reasons are enumerations.

The processes of a host that are given one directory (`PROMETHEUS_MULTIPROC_DIR`) count in files in it, so that any of
them tells of all: see `multiprocess`. Every metric has a label for that reason: a value begins with its labels, which
is after the place is known, while one without labels would begin when this module is imported.
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

    SLOW_CLIENT = "slow_client"  # it did not read what was sent to it
    PING_TIMEOUT = "ping_timeout"
    HISTORY_TIMEOUT = "history_timeout"  # its history could not be read while more than can wait was published
    MODERATOR = "moderator"  # it was banned, or disconnected
    SHUTTING_DOWN = "shutting_down"  # the front was told to stop
    RATE_LIMIT_ABUSE = "rate_limit_abuse"  # it went on sending too fast after it was told to wait
    TOO_LARGE = "too_large"  # it announced a message that is too long even to be read and dropped
    SLOW_UPLOAD = "slow_upload"  # a message that it had begun made no progress
    PROTOCOL_ERROR = "protocol_error"  # it broke RFC 6455
    MEMORY = "memory"  # of all clients, most was held for it when that was too much


class RejectReason(StrEnum):
    """Why a request or a websocket was refused, or a connection that was none yet was closed."""

    CONNECTIONS = "connections"  # the front has as many websockets as it may
    ADDRESS_CONNECTIONS = "address_connections"  # its address has
    ADDRESS_REQUESTS = "address_requests"  # its address asks too often
    PENDING_CONNECTIONS = "pending_connections"  # too many connections ask for nothing, and it longest
    SLOW_REQUEST = "slow_request"  # its request, or the reading of the answer, took too long
    ACCEPT = "accept"  # no descriptor or memory was left to accept it; each is a pause in which none is accepted
    UNKNOWN_CHANNEL = "unknown_channel"
    TOKEN = "token"  # the channel is private, and its token was not shown
    ORIGIN = "origin"  # a page of another site
    BANNED = "banned"  # its address


class Delay(StrEnum):
    """Why a connection was not read for a moment."""

    ADDRESS_REFUSALS = "address_refusals"  # too much of what its address sent was refused


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
    """A counter of what happens with every message: `total` is added to, and told with all others of this process."""

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
    """Tells what this process has gathered; in the thread in which it gathers."""
    for counter in _buffered:
        counter.flush()


# Clients

CLIENTS = _gauge("clients", "Websocket connections, over all fronts of this host.", "channel")
CONNECTIONS = _counter("connections_total", "Websocket connections that joined a channel.", "channel")
CONNECTIONS_REFUSED = _counter("connections_refused_total", "Websockets and requests that were turned away.", "reason")
CONNECTIONS_CLOSED = _counter("connections_closed_total", "Connections that the server closed.", "reason")

READING_DELAYED = _counter("reading_delayed_total", "Times that a connection was not read for a moment.", "reason")

# Messages

MESSAGES = _counter("messages_total", "Messages from clients, by how they ended.", "type", "outcome")
MESSAGES_REFUSED = _counter("messages_refused_total", "Messages whose senders were told why not.", "reason")
RECEIVED_BYTES = _counter("received_bytes_total", "Bytes that came from websocket clients.", "channel")
SENT_BYTES = _counter("sent_bytes_total", "Bytes of websocket frames handed to clients.", "channel")
DELIVERIES = _counter("deliveries_total", "Messages handed to clients, each counted once per client.", "channel")
PUBLICATIONS_MISSED = _counter(
    "publications_missed_total", "Publications that a front did not hear: trimmed before it could read them.", "channel"
)

# Jobs

JOB_SECONDS = _histogram(
    "job_duration_seconds",
    "From the moment a worker had a job until it had ended.",
    "type",
    buckets=(*UP_TO_FIVE_SECONDS, 10, 30),
)
JOBS_DEAD_LETTERED = _counter(
    "jobs_dead_lettered_total", "Jobs that could not be done and went to the dead letters.", "reason"
)
GEOPACKAGES = _counter("geopackages_total", "GeoPackages that were asked for, by what came of it.", "outcome")
PLACES = _counter("places_total", "Messages that could have a place on the map, by what came of it.", "type", "outcome")
JOBS_RECLAIMED = _counter("jobs_reclaimed_total", "Jobs taken over from a worker that was gone.", "lane")

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
    "A front's heartbeat on its way through Redis and a light worker and back.",
    "channel",
    buckets=UP_TO_FIVE_SECONDS,
)
READY = _gauge("ready", "1 while messages go round through this front and it takes clients, else 0.", "process")
REDIS_CONNECTIONS_LOST = _counter(
    "redis_connections_lost_total", "Connections to Redis that ended without our wish; each is made anew.", "connection"
)
LOOP_LAG_SECONDS = _histogram(
    "event_loop_lag_seconds",
    "How much later than due the event loop wakes a sleeper.",
    "process",
    buckets=UP_TO_FIVE_SECONDS,
)
CPU_SECONDS = _counter("process_cpu_seconds_total", "User and system time; without a heavy worker's child.", "process")
MEMORY_BYTES = _gauge("process_resident_memory_bytes", "Resident memory; without a heavy worker's child.", "process")
BUILD_INFO = _gauge("build_info", "1 for each process that runs.", "process", "version", "python")


# Sampling


async def sample_process(name: str, interval: float) -> None:
    """Measures this process, by its name, and tells what it gathers, once in an interval until it is cancelled."""
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
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # the most that it ever was; macOS counts bytes


# Sharing


@contextlib.contextmanager
def multiprocess(directory: str, kind: str, name: str = "") -> Iterator[str]:
    """While it lasts, what this process counts is in files in `directory`, beside those of the host's other processes.

    Gives the name under which it counts: `name` (of letters, digits, `.` and `-`), or where that is taken or not given,
    the first of kind-1, kind-2, … that is free. A process that takes the place of another goes on with its counts, so
    the files stay few and no count is lost by a restart. What it was at the time (gauges) ends with a process.

    Raises:
        OSError: the directory cannot be made or written.
    """
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    with _take_name(directory, kind, name) as lock:
        taken = Path(lock.name).stem
        for stale in Path(directory).glob(f"gauge_*_{taken}.db"):
            stale.unlink()
        share(Path(directory), taken)
        yield taken


def _take_name(directory: str, kind: str, name: str) -> IO[str]:
    """The file whose lock says that the name is taken; the kernel gives it back, however its process ends."""
    numbered = (f"{kind}-{number}" for number in itertools.count(1))
    wished = [re.sub(r"[^A-Za-z0-9.-]", "-", name)] if name else []  # the library parts a file's name at each `_`
    with _looking(directory, fcntl.LOCK_EX):
        for candidate in itertools.chain(wished, numbered):
            lock = Path(directory, f"{candidate}.lock").open("a")  # noqa: SIM115 - open as long as it is ours
            if _lock(lock, fcntl.LOCK_EX):
                return lock
            lock.close()
    raise AssertionError("numbers do not end")


def _living(directory: str) -> set[str]:
    """The names of the processes that live."""
    living = set()
    with _looking(directory, fcntl.LOCK_SH):
        for path in Path(directory).glob("*.lock"):
            with path.open() as lock:
                if not _lock(lock, fcntl.LOCK_SH):
                    living.add(path.stem)
    return living


@contextlib.contextmanager
def _looking(directory: str, how: int) -> Iterator[None]:
    """Keeps those who look for the living, which takes locks for a moment, from those who take names."""
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


# Telling


class Exposition:
    """All that is known to the processes that share a directory; to this process alone where there is none."""

    def __init__(self, directory: str, others: Callable[[], Iterable["Metric"]] = list) -> None:
        """
        Args:
            others: makes what is told besides: asked of Redis, not counted here.
        """
        self._directory = directory
        self._others = others

    def collect(self) -> Iterable["Metric"]:
        yield from self._shared() if self._directory else self._own()
        yield from self._others()

    def encode(self, accept: str) -> tuple[bytes, str]:
        """The text in the format that an `Accept` header asks for, and its content type.

        prometheus_client is loaded when the first asks: that takes as long as a tenth of a process' start.
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
