"""The launcher of `gischat up`: checks what can be checked beforehand, then replaces itself by supervisord."""

import errno
import fcntl
import os
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
from gischat.open_files import raise_limit
from gischat.settings import Settings
from gischat.supervision import files
from gischat.supervision.instance import Instance
from gischat.supervision.notices import tell
from gischat.supervision.remote import supervisord
from gischat.supervision.spelling import unknown_settings

# More than one front can serve. Some systems' hard limit is a billion, for which programs allocate tables.
MAX_OPEN_FILES = 65_536

LEFTOVERS_SECONDS = 60

# Relays the output to the original one. supervisord cannot reopen some outputs (a socket from systemd, another user's
# terminal after su, a file that root opened), and fails during shutdown when the output breaks (a closed terminal;
# `make run | tee log`, where Ctrl-C ends tee first). It can reopen this pipe, which is read until supervisord exits.
RELAY = "trap '' INT QUIT HUP TERM; cat 2>/dev/null; exec cat >/dev/null"


def launch(instance: Instance) -> NoReturn:
    """Replace this process by supervisord, so that signals reach it directly; never returns.

    Raises:
        CommandError: the instance runs already, or its port or log file is not available.
    """
    for complaint in unknown_settings():
        tell(instance.settings, complaint)
    instance.make_directories()
    _refuse_second_run(instance)
    _await_leftovers(instance)
    # Counters start at zero in each run; Prometheus recognises the drop as a restart.
    shutil.rmtree(instance.metrics_dir, ignore_errors=True)
    _refuse_unusable_ports(instance.settings)
    raise_limit(MAX_OPEN_FILES)
    instance.export()
    log_file = os.environ.get("LOG_FILE")
    output = _output(log_file)
    # The processes write to a pipe of supervisord's; only here it is known whether the output is a terminal.
    as_json = (
        is_json(instance.settings.log_format, sys.stdout) if not log_file else instance.settings.log_format != "text"
    )
    os.environ["LOG_FORMAT"] = "json" if as_json else "text"
    # Runs beside supervisord; writes to the terminal even if the log goes elsewhere; Ctrl-C does not reach it.
    announce = [sys.executable, "-m", "gischat.supervision.startup_message", str(os.getpid())]
    words = {} if not log_file else {"LOG_FORMAT": "text"}
    subprocess.Popen(announce, stdin=subprocess.DEVNULL, process_group=0, env={**os.environ, **words})
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(output, descriptor)
    # Run as root, supervisord requires this option.
    user = ["--user", "root"] if os.geteuid() == 0 else []
    configuration = str(files.path("supervisord.conf"))
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", configuration, *user]
    os.execv(sys.executable, command)


def _refuse_second_run(instance: Instance) -> None:
    try:
        supervisord(instance.control_socket)
    except CommandError:  # not running, or stopping
        return
    pid = instance.pid_file.read_text().strip() if instance.pid_file.exists() else "unknown"
    raise CommandError(f"already running, with pid {pid} (`gischat stop` stops it)")


def _await_leftovers(instance: Instance) -> None:
    """Wait for the processes of an earlier run.

    When supervisord is killed, its processes finish by themselves (see exec_child.py). Two servers on one data
    directory would corrupt it, two workers of one name would do the same jobs.
    """
    with suppress(CommandError):
        wait_for_processes(instance, 0)
        return
    tell(instance.settings, "waiting for the processes of an earlier run to end")
    wait_for_processes(instance, LEFTOVERS_SECONDS)


def wait_for_processes(instance: Instance, seconds: float) -> None:
    """Wait until supervisord and all processes of the instance have exited.

    Raises:
        CommandError: some still run after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while _is_alive(instance):
        if time.monotonic() >= deadline:
            raise CommandError("processes of an earlier run are still running: stop them first")
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
            raise CommandError("PORT=0 would be a different port for each front: set one")
        _refuse_unusable_port("PORT", settings.host, settings.port)
    if settings.metrics_port:
        _refuse_unusable_port("METRICS_PORT", settings.host, settings.metrics_port)


def _refuse_unusable_port(name: str, host: str, port: int) -> None:
    """Check that the port is free. Ours share it (SO_REUSEPORT), possibly with others'; this probe does not."""
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


def _output(log_file: str | None) -> int:
    """A file descriptor for the output of all processes; supervisord opens it as /dev/fd/1, once per process."""
    if log_file:
        return _open_log(log_file)
    stdout = sys.stdout.fileno()
    if stat.S_ISREG(os.fstat(stdout).st_mode) and os.access(f"/dev/fd/{stdout}", os.W_OK):
        # `> log`: each open file has its own offset, so without O_APPEND the processes would overwrite each other.
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
