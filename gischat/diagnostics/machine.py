"""What a front and its workers need of the machine that they run on."""

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

BACKLOG = 128  # connections that wait to be accepted: tornado's default
MANY = 10_000  # connections, where MAX_CONNECTIONS=0 sets no bound
OWN_FILES = 64  # descriptors of a front beside its clients'

ALL_ADDRESSES = "HOST=0.0.0.0, which is all of them"


def check_settings(settings: Settings) -> Iterator[Finding]:
    """What is right by itself, and does not go together."""
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
            "allow frames that are larger than what a connection may have waiting",
            "MAX_WAITING_BYTES at least as large as MAX_FRAME_SIZE",
        )


def check_port(settings: Settings, timings: Timings = Timings()) -> Iterator[Finding]:
    """Whether the fronts can listen, or do already."""
    host, port = settings.host, settings.port
    subject = f"port {port}"
    if not settings.fronts:
        yield ok(subject, "is not needed: FRONTS=0")
        return
    if port == 0:
        yield warning(subject, "is another one for each front that starts", "name one: PORT=8000")
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
    """Fronts share the port among themselves (SO_REUSEPORT), and would share it with strangers: this does not."""
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
            subject, "is for root alone, as all below 1024", "a PORT above 1023, behind a proxy such as nginx"
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
    """What a front that listens there says of itself."""
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", "/version")
        return str(json.loads(connection.getresponse().read(1000))["version"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def check_descriptors(settings: Settings) -> Iterator[Finding]:
    """Each connection is a file descriptor of its front; one more is refused, and so is everything else then."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = _connections(settings)
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


def _connections(settings: Settings) -> int:
    return settings.max_connections or MANY


def check_memory(settings: Settings) -> Iterator[Finding]:
    """The sandboxes of the heavy workers may take what they are allowed, all at once."""
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
    """Of the machine, or of the container where that is less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    container = _number(Path("/sys/fs/cgroup/memory.max"))
    return min(physical, container or physical)


def check_kernel() -> Iterator[Finding]:
    backlog = _number(Path("/proc/sys/net/core/somaxconn"))
    if backlog is not None and backlog < BACKLOG:
        yield warning(
            "kernel",
            f"net.core.somaxconn is {backlog}: of many who connect at once, some are refused",
            f"sysctl -w net.core.somaxconn={BACKLOG}, and in /etc/sysctl.d/",
        )


def check_embedded(settings: Settings, state_dir: Path) -> Iterator[Finding]:
    """What the server that comes along needs: a directory, room in it, and a kernel that lets it fork."""
    subject = f"directory {state_dir}"
    nearest = next(path for path in (state_dir, *state_dir.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
        yield problem(
            subject, f"{nearest} cannot be written to by this user", "chown it to this user, or another STATE_DIR"
        )
        return
    free, needed = shutil.disk_usage(nearest).free, 2 * total_bytes(settings)
    if free < needed:
        yield warning(
            subject,
            f"has {size(free)} free; full streams and their append-only file may take {size(needed)}",
            "more room, another STATE_DIR, or lower MAX_INBOX_BYTES and MAX_OUTBOX_BYTES",
        )
    else:
        yield ok(subject, f"can be written to, {size(free)} are free")
    if _number(Path("/proc/sys/vm/overcommit_memory")) == 0:
        yield warning(
            "kernel",
            "vm.overcommit_memory is 0: with little memory left, the embedded server cannot rewrite its file",
            "sysctl -w vm.overcommit_memory=1, and in /etc/sysctl.d/",
        )


def runs_embedded(settings: Settings) -> bool:
    """Whether somebody listens on the embedded server's socket; its file may outlive it."""
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        return probe.connect_ex(parse(settings.redis_url).path) == 0


def _number(path: Path) -> int | None:
    """What a file of the kernel's says; None if that is no number, or there is no such file."""
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
