"""Prometheus metrics: every metric with its name, labels and unit; documented in docs/metrics.md.

An increment takes some microseconds, which is fine for rare events: `CONNECTIONS_CLOSED.labels(reason).inc()`. What is
counted for every message uses a `BufferedCounter`: an addition, flushed a little later. Labels have few values:
configured channels, the contract's types, enumerated reasons.

Processes of a host that share a directory (`PROMETHEUS_MULTIPROC_DIR`) keep their values in files in it, so that each
of them can report the metrics of all: see `gischat.observability.multiprocess`. For this reason every metric has a
label: a value is created with its labels, when the directory is known; one without labels would be created on import.
"""

import asyncio
import platform
import resource
import sys
import time
import weakref
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from gischat import __version__
from gischat.observability.counter_files import Counter, Gauge, Histogram, Value


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
    PENDING_CONNECTIONS = "pending_connections"  # too many connections that are not in a channel
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
FOREIGN_ENTRIES = _counter(
    "foreign_entries_total", "Entries in streams that gischat did not write, and skips.", "stream"
)
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
