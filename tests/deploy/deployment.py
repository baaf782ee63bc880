"""A complete deployment as of `make run`: the launcher, supervisord with its real configuration, and its processes."""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, Self
from xmlrpc.client import ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from tests.support import fork_server
from tests.support.processes import free_port
from tests.support.scrape import Scrape
from tests.support.waiting import awaited

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"

START_WITHIN = 60.0  # seconds; four interpreters on a busy machine
STOP_WITHIN = 60.0


class Member(NamedTuple):
    state: str
    pid: int


class Deployment:
    """An instance with its own port and state directory; it ignores the settings of the user who runs the tests."""

    def __init__(
        self,
        directory: Path,
        *,
        state_dir: Path | None = None,
        program: Sequence[str | Path] = (sys.executable, "-m", "gischat"),
        cwd: Path = ROOT,
        **settings: str,
    ) -> None:
        self.directory = directory
        self._program = program
        self._cwd = cwd
        self.state_dir = state_dir or directory / "state"
        self.run_dir = self.state_dir
        self.log = directory / "log"
        self.port = free_port()
        env_file = directory / "env"
        env_file.touch()
        self.environment = {
            "PATH": os.defpath,
            "HOME": str(directory),
            "ENV_FILE": str(env_file),
            "STATE_DIR": str(self.state_dir),
            "HOST": HOST,
            "PORT": str(self.port),
            "LOG_FORMAT": "text",
            **settings,
        }
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self, output: int | IO[bytes] | None = None, *, through: Sequence[str] = ()) -> Self:
        """Start it without waiting; its output goes to `log`, or to `output`.

        `through` is a command that changes something and execs the command after it.
        """
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*through, *self._program, "up"],
                cwd=self._cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def gischat(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of gischat to its end."""
        command = [*map(str, self._program), *arguments]
        if command[0] == sys.executable:
            return fork_server.run(*command[1:], directory=self._cwd, **self.environment)
        return subprocess.run(command, cwd=self._cwd, env=self.environment, capture_output=True, text=True, timeout=60)

    @property
    def pid(self) -> int:
        """The process id of supervisord, which has replaced the launcher."""
        assert self._popen
        return self._popen.pid

    def members(self) -> dict[str, Member]:
        """The processes' status according to supervisord, by name; empty while it does not answer."""
        known = self._known() or []
        return {f"{each['group']}:{each['name']}": Member(each["statename"], each["pid"]) for each in known}

    def _known(self) -> list[dict[str, Any]] | None:
        """What supervisord reports; None while it does not answer."""
        transport = SupervisorTransport("gischat", "gischat", f"unix://{self.run_dir / 'supervisor.sock'}")
        proxy: Any = ServerProxy("http://localhost", transport=transport)
        try:
            known: list[dict[str, Any]] = proxy.supervisor.getAllProcessInfo()
        except OSError:
            return None
        return known

    def pids(self) -> dict[str, int]:
        return {name: member.pid for name, member in self.members().items()}

    def runs(self, *names: str) -> bool:
        """Whether these processes run, and no others."""
        return {name: member.state for name, member in self.members().items()} == dict.fromkeys(names, "RUNNING")

    def announced(self) -> bool:
        """Whether it has logged its address and accepts commands; without fronts it may log it earlier."""
        return "(Ctrl-C stops)" in self.log_text() and self._known() is not None

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def processes(self) -> list[int]:
        """All its living processes; each is a separate process group, but all are in one session."""
        found = []
        for process in psutil.process_iter(["status"]):
            with suppress(ProcessLookupError):  # it has just exited
                if process.info["status"] != psutil.STATUS_ZOMBIE and os.getsid(process.pid) == self.pid:
                    found.append(process.pid)
        return found

    def ask(self, path: str, port: int | None = None) -> tuple[int | None, str]:
        """The status and body of an answer; no status while nobody listens."""
        connection = http.client.HTTPConnection(HOST, port or self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionError:
            return None, ""
        finally:
            connection.close()

    def measures(self, *names: str, port: int | None = None) -> bool:
        """Whether an answer of `/metrics` covers these processes, and no others."""
        status, text = self.ask("/metrics", port)
        return status == 200 and Scrape(text).label("gischat_build_info", "process") == set(names)

    def wait_until(self, condition: Callable[[], bool], within: float = START_WITHIN) -> None:
        """Wait for a condition; show the log if it does not become true."""
        assert awaited(condition, within=within), f"not within {within} s; the log says:\n{self.log_text()}"

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def exit_status(self) -> int:
        assert self._popen
        return self._popen.wait(STOP_WITHIN)

    def clean_up(self) -> None:
        """Stop what the test has left running."""
        if self._popen is None:
            return
        if self._popen.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.exit_status()
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        for pid in self.processes():
            with suppress(ProcessLookupError):  # it has just exited by itself
                os.kill(pid, signal.SIGKILL)


def persistence() -> list[str]:
    """The settings of the embedded Valkey that any Redis of ours has, as on a command line."""
    lines = (ROOT / "deploy/valkey.conf").read_text("utf-8").splitlines()
    names = ("append", "auto-aof", "save", "maxmemory-policy")
    return [f"--{line}".replace('""', "''") for line in lines if line.startswith(names)]
