"""From settings to a running supervisord: checks what can be checked before, then becomes it."""

import errno
import fcntl
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import time
from contextlib import closing, suppress
from typing import Any, NoReturn

from gischat.commands import CommandError
from gischat.observability.logs import is_json
from gischat.settings import Settings
from gischat.supervision import files
from gischat.supervision.instance import Instance
from gischat.supervision.notices import tell
from gischat.supervision.remote import supervisord
from gischat.supervision.spelling import unknown_settings

# More sockets than one front can serve; some systems' hard limit is a billion, and tables are made that long.
MAX_OPEN_FILES = 65_536

LEFTOVERS_SECONDS = 60

# supervisord would fail to open some outputs again (a socket, as from systemd; another user's terminal, after su; a
# file that root opened for us), and fail in the midst of stopping when one breaks (a closed terminal; `make run | tee
# log`, where Ctrl-C ends tee first). This one it can open, and it takes what comes until supervisord has gone.
RELAY = "trap '' INT QUIT HUP TERM; cat 2>/dev/null; exec cat >/dev/null"


def launch(instance: Instance) -> NoReturn:
    """Never returns: this process becomes supervisord, so that signals reach it without a go-between.

    Raises:
        CommandError: the instance runs already, or its port or log file cannot be had.
    """
    for complaint in unknown_settings():
        tell(instance.settings, complaint)
    instance.make_directories()
    _refuse_second_run(instance)
    _await_leftovers(instance)
    # What an earlier run has counted is over: Prometheus takes the fall for the restart that it is.
    shutil.rmtree(instance.metrics_dir, ignore_errors=True)
    _refuse_unusable_ports(instance.settings)
    _raise_open_files_limit()
    instance.export()
    log_file = os.environ.get("LOG_FILE")
    output = _output(log_file)
    # The processes write to a pipe of supervisord's: only here it is known whether a person looks at its other end.
    as_json = (
        is_json(instance.settings.log_format, sys.stdout) if not log_file else instance.settings.log_format != "text"
    )
    os.environ["LOG_FORMAT"] = "json" if as_json else "text"
    # Beside supervisord; speaks to the terminal even if the log goes elsewhere; Ctrl-C is not for it.
    announce = [sys.executable, "-m", "gischat.supervision.startup_message", str(os.getpid())]
    words = {} if not log_file else {"LOG_FORMAT": "text"}
    subprocess.Popen(announce, stdin=subprocess.DEVNULL, process_group=0, env={**os.environ, **words})
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(output, descriptor)
    # As root, supervisord wants to be told that this is meant.
    user = ["--user", "root"] if os.geteuid() == 0 else []
    configuration = str(files.path("supervisord.conf"))
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", configuration, *user]
    os.execv(sys.executable, command)


def _refuse_second_run(instance: Instance) -> None:
    try:
        supervisord(instance.control_socket)
    except CommandError:  # none, or one that stops
        return
    pid = instance.pid_file.read_text().strip() if instance.pid_file.exists() else "unknown"
    raise CommandError(f"it runs already, with pid {pid} (`gischat stop` stops it)")


def _await_leftovers(instance: Instance) -> None:
    """Waits for what an earlier run has left. A killed supervisord leaves its processes to finish by themselves (see
    exec_child.py): two servers on one data directory would spoil it, two workers of one name would do the same work."""
    with suppress(CommandError):
        wait_for_processes(instance, 0)
        return
    tell(instance.settings, "waiting for the processes of an earlier run to end")
    wait_for_processes(instance, LEFTOVERS_SECONDS)


def wait_for_processes(instance: Instance, seconds: float) -> None:
    """Waits until neither supervisord nor any process of the instance lives.

    Raises:
        CommandError: one still does, after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while _is_alive(instance):
        if time.monotonic() >= deadline:
            raise CommandError("processes of an earlier run are still alive: end them first")
        time.sleep(0.2)


def _is_alive(instance: Instance) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as control, suppress(OSError):
        control.connect(str(instance.control_socket))
        return True
    with instance.lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _refuse_unusable_ports(settings: Settings) -> None:
    if settings.fronts:
        if settings.port == 0:
            raise CommandError("PORT=0 would be another port for each front: name one")
        _refuse_unusable_port("PORT", settings.host, settings.port)
    if settings.metrics_port:
        _refuse_unusable_port("METRICS_PORT", settings.host, settings.metrics_port)


def _refuse_unusable_port(name: str, host: str, port: int) -> None:
    """Our processes share a port (SO_REUSEPORT) and would share it with strangers; the probe does not."""
    for family, kind, protocol, _, address in _addresses(host, port):
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                why = f"cannot listen on {host}, port {port}: {_reason(error)} (see {name} and HOST)"
                raise CommandError(why) from error


def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    try:
        return [*socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)]
    except socket.gaierror as error:
        raise CommandError(f"HOST={host}: {error.strerror}") from error


def _reason(error: OSError) -> str:
    reasons = {errno.EADDRINUSE: "another program has it", errno.EACCES: "only root may use ports below 1024"}
    return reasons.get(error.errno or 0) or str(error.strerror)


def _raise_open_files_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # the kernel may allow less than it says; fewer will do for most
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _output(log_file: str | None) -> int:
    """A descriptor for the output of all processes; supervisord opens it as /dev/fd/1, once for each of them."""
    if log_file:
        return _open_log(log_file)
    stdout = sys.stdout.fileno()
    if stat.S_ISREG(os.fstat(stdout).st_mode) and os.access(f"/dev/fd/{stdout}", os.W_OK):
        # `> log`: each opening has a place of its own in the file, and would write over what others wrote.
        fcntl.fcntl(stdout, fcntl.F_SETFL, fcntl.fcntl(stdout, fcntl.F_GETFL) | os.O_APPEND)
        return stdout
    relay = subprocess.Popen(["sh", "-c", RELAY], stdin=subprocess.PIPE)
    assert relay.stdin is not None
    return relay.stdin.fileno()


def _open_log(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    except OSError as error:
        raise CommandError(f"LOG_FILE={path}: {error.strerror}") from error
