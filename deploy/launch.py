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

from deploy.instance import ROOT, Instance, Refused
from deploy.notices import tell
from gischat.logs import is_json
from gischat.settings import Settings

# More sockets than one front can serve; some systems' hard limit is a billion, and tables are made that long.
MOST_OPEN_FILES = 65_536

LEFTOVERS_SECONDS = 60

# supervisord would fail to open some outputs again (a socket, as from systemd; another user's terminal, after su; a
# file that root opened for us), and fail in the midst of stopping when one breaks (a closed terminal; `make run | tee
# log`, where Ctrl-C ends tee first). This one it can open, and it takes what comes until supervisord has gone.
RELAY = "trap '' INT QUIT HUP TERM; cat 2>/dev/null; exec cat >/dev/null"


def launch(instance: Instance) -> NoReturn:
    """Never returns: this process becomes supervisord, so that signals reach it without a go-between.

    Raises:
        Refused: the instance runs already, or its port or log file cannot be had.
    """
    instance.make_directories()
    _refuse_second_run(instance)
    _await_leftovers(instance)
    # What an earlier run has counted is over: Prometheus takes the fall for the restart that it is.
    shutil.rmtree(instance.metrics_dir, ignore_errors=True)
    _refuse_unusable_ports(instance.settings)
    _raise_open_files_limit()
    instance.export()
    os.chdir(ROOT)
    log_file = os.environ.get("LOG_FILE")
    output = _output(log_file)
    # The processes write to a pipe of supervisord's: only here it is known whether a person looks at its other end.
    as_json = (
        is_json(instance.settings.log_format, sys.stdout) if not log_file else instance.settings.log_format != "text"
    )
    os.environ["LOG_FORMAT"] = "json" if as_json else "text"
    # Beside supervisord; speaks to the terminal even if the log goes elsewhere; Ctrl-C is not for it.
    announce = [sys.executable, "-m", "deploy.announce", str(os.getpid())]
    words = {} if not log_file else {"LOG_FORMAT": "text"}
    subprocess.Popen(announce, stdin=subprocess.DEVNULL, process_group=0, env={**os.environ, **words})
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(output, descriptor)
    # As root, supervisord wants to be told that this is meant.
    user = ["--user", "root"] if os.geteuid() == 0 else []
    configuration = str(ROOT / "supervisord.conf")
    supervisord = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon"]
    os.execv(sys.executable, [*supervisord, "--configuration", configuration, *user])


def _refuse_second_run(instance: Instance) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as control:
        try:
            control.connect(str(instance.control_socket))
        except OSError:  # none there, or one that nobody listens to any more
            return
    pid = instance.pid_file.read_text().strip() if instance.pid_file.exists() else "unknown"
    raise Refused(f"it runs already, with pid {pid} (deploy/ctl shutdown stops it)")


def _await_leftovers(instance: Instance) -> None:
    """A supervisord that was killed leaves its processes to finish by themselves (see child.py): two servers
    on one data directory would spoil it, two workers of one name would do the same work."""
    deadline = time.monotonic() + LEFTOVERS_SECONDS
    told = False
    with instance.lock_file.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Refused("processes of an earlier run are still alive: end them first") from None
            if not told:
                tell(instance.settings, "waiting for the processes of an earlier run to end")
                told = True
            time.sleep(0.2)


def _refuse_unusable_ports(settings: Settings) -> None:
    if settings.fronts:
        if settings.port == 0:
            raise Refused("PORT=0 would be another port for each front: name one")
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
                raise Refused(why) from error


def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    try:
        return [*socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)]
    except socket.gaierror as error:
        raise Refused(f"HOST={host}: {error.strerror}") from error


def _reason(error: OSError) -> str:
    reasons = {errno.EADDRINUSE: "another program has it", errno.EACCES: "only root may use ports below 1024"}
    return reasons.get(error.errno or 0) or str(error.strerror)


def _raise_open_files_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
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
        raise Refused(f"LOG_FILE={path}: {error.strerror}") from error
