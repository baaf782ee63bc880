"""Checks of the settings and of the machine that fronts and workers run on."""

import errno
import http.client
import json
import os
import resource
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from gischat import __version__
from gischat.diagnostics.capacity import total_bytes
from gischat.diagnostics.findings import Finding, ok, problem, size, warning
from gischat.protocol.types import LANES
from gischat.redis_url import parse
from gischat.settings import LOOPBACK, Settings
from gischat.timings import Timings

BACKLOG = 128  # length of the listen queue: Tornado's default
MANY = 10_000  # connections to check for if MAX_CONNECTIONS=0 sets no limit
OWN_FILES = 64  # file descriptors of a front besides its clients'

ALL_ADDRESSES = "HOST=0.0.0.0, which is all of them"


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Check for settings that are valid but contradict each other."""
    yield ok("settings", f"are read: instance {settings.instance_id}, {len(settings.channels)} channels")
    longest = max(settings.max_image_raw_length, settings.max_model_raw_length, settings.max_script_raw_length)
    if settings.max_frame_size < longest:
        yield warning(
            "settings",
            f"allow messages of {longest} characters, but frames of {settings.max_frame_size} bytes only",
            f"MAX_FRAME_SIZE={longest + 2**20}, or lower limits of images, models and scripts",
        )
    if settings.max_frame_size > settings.max_waiting_bytes:
        yield warning(
            "settings",
            "allow frames that are larger than a connection's queue",
            "MAX_WAITING_BYTES at least as large as MAX_FRAME_SIZE",
        )
    if settings.max_stored_messages and settings.max_unread_bytes < settings.max_stored_bytes:
        yield warning(
            "settings",
            "allow stored messages that a client on a slow link cannot receive: it is disconnected while it joins",
            "MAX_UNREAD_BYTES at least as large as MAX_STORED_BYTES",
        )


def check_port(settings: Settings, timings: Timings = Timings()) -> Iterator[Finding]:
    """Check whether the fronts can listen on the port, or already do."""
    host, port = settings.host, settings.port
    subject = f"port {port}"
    if not settings.fronts:
        yield ok(subject, "is not needed: FRONTS=0")
        return
    if port == 0:
        yield warning(subject, "is a different one for each front", "set one: PORT=8000")
        return
    try:
        _bind(host, port)
    except socket.gaierror as error:
        yield problem(
            subject, f"HOST={host} is no address of this machine: {error.strerror}", "HOST=0.0.0.0 is all of them"
        )
    except OSError as error:
        yield _explained(subject, settings, timings, error)
    else:
        yield ok(subject, f"is free on {host or 'all addresses'}")


def _bind(host: str, port: int) -> None:
    """Try to bind without SO_REUSEPORT, with which fronts would share the port with other programs."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in found:
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)


def _explained(subject: str, settings: Settings, timings: Timings, error: OSError) -> Finding:
    if error.errno == errno.EACCES:
        return problem(
            subject, "is reserved for root, like all below 1024", "a PORT above 1023, behind a proxy such as nginx"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return problem(subject, f"HOST={settings.host} is no address of this machine", ALL_ADDRESSES)
    if error.errno != errno.EADDRINUSE:
        return problem(subject, f"cannot be listened on: {error.strerror}", "see PORT and HOST")
    version = _version(LOOPBACK.get(settings.host, settings.host), settings.port, timings.check_front)
    if version is None:
        return problem(
            subject,
            "is taken by another program",
            f"end it (ss -ltnp 'sport = :{settings.port}' names it), or another PORT",
        )
    if version != __version__:
        return warning(
            subject, f"a front of version {version} serves there, this is {__version__}", "restart the fronts"
        )
    return ok(subject, f"a front of version {version} serves there")


def _version(host: str, port: int, seconds: float) -> str | None:
    """The version of the front that listens there; None if there is none."""
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", "/version")
        return str(json.loads(connection.getresponse().read(1000))["version"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def check_descriptors(settings: Settings) -> Iterator[Finding]:
    """Check the limit of file descriptors: a front needs one per connection, and fails without free ones."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = settings.max_connections or MANY
    needed = connections + OWN_FILES + len(settings.channels)
    if _suffices(allowed, needed):
        yield ok("open files", f"are enough for {connections} connections of a front")
        return
    by_itself = "`make run` does it by itself" if _suffices(most, needed) else f"root has to: the hard limit is {most}"
    yield warning(
        "open files",
        f"{allowed} are allowed, a front with {connections} connections needs {needed}",
        f"ulimit -n {needed}, in a systemd unit LimitNOFILE={needed} ({by_itself}); or a lower MAX_CONNECTIONS",
    )


def _suffices(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed


def check_memory(settings: Settings) -> Iterator[Finding]:
    """Check that all heavy workers' sandboxes fit in memory at once."""
    machine = _machine_memory()
    heavy = sum(settings.workers_of(lane) for lane in LANES if lane.is_sandboxed)
    sandboxes = heavy * settings.job_memory
    if sandboxes > machine:
        yield warning(
            "memory",
            f"{heavy} heavy workers may take {size(sandboxes)}, this machine has {size(machine)}",
            "fewer HEAVY_WORKERS, or a lower JOB_MEMORY (large photos need it)",
        )
    else:
        yield ok("memory", f"{size(machine)}; heavy workers may take {size(sandboxes)} of it")
    own, _ = resource.getrlimit(resource.RLIMIT_AS)
    if own != resource.RLIM_INFINITY and own < settings.job_memory:
        yield problem(
            "memory",
            f"processes here may have {size(own)} of address space, less than JOB_MEMORY",
            "ulimit -v unlimited, or a lower JOB_MEMORY",
        )


def _machine_memory() -> int:
    """Bytes of memory of the machine, or of the container if less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    container = _number(Path("/sys/fs/cgroup/memory.max"))
    return min(physical, container or physical)


def check_kernel() -> Iterator[Finding]:
    backlog = _number(Path("/proc/sys/net/core/somaxconn"))
    if backlog is not None and backlog < BACKLOG:
        yield warning(
            "kernel",
            f"net.core.somaxconn is {backlog}: when many clients connect at once, some are refused",
            f"sysctl -w net.core.somaxconn={BACKLOG}, and in /etc/sysctl.d/",
        )


def check_embedded(settings: Settings, state_dir: Path) -> Iterator[Finding]:
    """Check what the embedded server needs: a writable directory, free disk space, and a kernel that lets it fork."""
    subject = f"directory {state_dir}"
    nearest = next(path for path in (state_dir, *state_dir.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
        yield problem(
            subject, f"{nearest} is not writable for this user", "chown it to this user, or another STATE_DIR"
        )
        return
    free, needed = shutil.disk_usage(nearest).free, 2 * total_bytes(settings)
    if free < needed:
        yield warning(
            subject,
            f"has {size(free)} free; full streams and their append-only file may take {size(needed)}",
            "more disk space, another STATE_DIR, or lower MAX_INBOX_BYTES and MAX_OUTBOX_BYTES",
        )
    else:
        yield ok(subject, f"is writable, {size(free)} are free")
    if _number(Path("/proc/sys/vm/overcommit_memory")) == 0:
        yield warning(
            "kernel",
            "vm.overcommit_memory is 0: with little memory left, the embedded server cannot rewrite its file",
            "sysctl -w vm.overcommit_memory=1, and in /etc/sysctl.d/",
        )


def runs_embedded(settings: Settings) -> bool:
    """Whether the embedded server listens on its socket; the socket file alone proves nothing."""
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        return probe.connect_ex(parse(settings.redis_url).path) == 0


def _number(path: Path) -> int | None:
    """The number in a file of /proc or /sys; None if it is no number or there is no such file."""
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
