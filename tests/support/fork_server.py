"""Fork server: starts Python processes by forking one that has already imported the server's code.

Imports are most of the start-up time of `python -m gischat`, and the tests start it a thousand times. A forked process
runs the same program from its first line, in its own process, environment and directory. tests/deploy covers the start
in a new interpreter, by supervisord.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

ROOT = Path(__file__).parents[2]

# The part of the tests' environment that processes inherit, and what our Python needs
BARE_ENVIRONMENT = {
    **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
}
RUN_WITHIN = 180.0  # seconds; only a test that fails waits that long

STARTS = "gischat.tests.fork_server.start"  # the audit event of a process

_PRELOADED = (
    "gischat.commands.admin",
    "gischat.commands.check",
    "gischat.commands.ctl",
    "gischat.commands.front",
    "gischat.commands.nginx",
    "websockets.frames",
    "worker.__main__",
)


class ForkedProcess:
    """A process started by the fork server, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection  # receives the PID, then the exit status; the process does not outlive it
        self._lines = connection.makefile("r")
        self._lock = threading.Lock()
        self.returncode: int | None = None
        self.pid = int(self._lines.readline())

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        with self._lock:
            if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
                self.returncode = int(self._lines.readline())
                self._lines.close()
                self._connection.close()
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for the exit status.

        Raises:
            subprocess.TimeoutExpired: it has not exited within so many seconds.
        """
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            with suppress(ValueError, OSError):  # another thread has read the status, and closed the connection
                select.select([self._connection], [], [], max(0, deadline - time.monotonic()))
        return status


class ForkServer:
    """The tests' end of a fork server, which is started on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        stdout: IO[bytes],
        stderr: IO[bytes] | None = None,
        stdin: IO[bytes] | None = None,
    ) -> ForkedProcess:
        """Run Python with these arguments: `-m MODULE …` or `-c PROGRAM …`.

        By default stderr goes to `stdout`, and stdin is empty.
        """
        sys.audit(STARTS)
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile("w+") as request, open(os.devnull, "rb") as null:
            json.dump([list(arguments), dict(environment), str(directory)], request)
            request.seek(0)
            files = [theirs.fileno(), *(file.fileno() for file in (request, stdin or null, stdout, stderr or stdout))]
            socket.send_fds(self._connected(), [b"."], files)
        return ForkedProcess(ours)

    def run(self, *arguments: str, directory: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run Python with these arguments and environment variables to its end."""
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            process = self.start(arguments, BARE_ENVIRONMENT | environment, directory, stdout, stderr)
            status = process.wait(RUN_WITHIN)
            for file in (stdout, stderr):
                file.seek(0)
            return subprocess.CompletedProcess(arguments, status, stdout.read().decode(), stderr.read().decode())

    def stop(self) -> None:
        if self._requests is not None and self._process is not None:
            self._requests.close()
            self._process.wait()
            self._requests = self._process = None

    def _connected(self) -> socket.socket:
        with self._lock:
            if self._requests is None:
                self._requests, theirs = socket.socketpair()
                with theirs:
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", __name__, str(theirs.fileno())],
                        env=BARE_ENVIRONMENT,
                        cwd=ROOT,
                        stdin=subprocess.DEVNULL,
                        pass_fds=[theirs.fileno()],
                    )
            return self._requests


_shared = ForkServer()  # for all tests of this process
start, run, stop = _shared.start, _shared.run, _shared.stop


# In the fork server


class Request(NamedTuple):
    """A request for a new process."""

    arguments: list[str]
    environment: dict[str, str]
    directory: str
    files: list[int]  # descriptors: stdin, stdout, stderr

    def become(self) -> NoReturn:
        """Run the program and exit, as a new interpreter does, but without tearing down the modules loaded before."""
        status = 0
        try:
            self._run()
        except SystemExit as end:
            match end.code:
                case None:
                    pass
                case int(status):
                    pass
                case words:
                    print(words, file=sys.stderr)
                    status = 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
            status = 1
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
        atexit._run_exitfuncs()
        gc.collect()  # so that finalizers can complain
        sys.stdout.flush()
        os._exit(status)

    def _run(self) -> None:
        for place, descriptor in enumerate(self.files):
            os.dup2(descriptor, place)
            os.close(descriptor)
        os.chdir(self.directory)
        os.environ.clear()
        os.environ.update(self.environment)
        option, program, *arguments = self.arguments
        if option == "-m":
            sys.path[0] = self.directory
            sys.argv = [program, *arguments]
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            assert option == "-c"
            sys.path[0] = ""
            sys.argv = [option, *arguments]
            sys.modules["__main__"] = module = types.ModuleType("__main__")
            exec(compile(program, "<string>", "exec"), vars(module))


def serve(requests: socket.socket) -> Request | None:
    """Fork a process for each request and report its exit; kill processes that nobody waits for any more.

    Returns in each forked process, with its request; and with None when the tests are over.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests and their processes
    signal.signal(signal.SIGCHLD, lambda *_: None)
    awake, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    running: dict[int, socket.socket] = {}
    is_over = False
    while not is_over or running:
        ends = [awake, *running.values()] if is_over else [awake, *running.values(), requests]
        readable, _, _ = select.select(ends, [], [])
        if awake in readable:
            awake.recv(1024)
            _report_ends(running)
        if requests in readable:
            asked, files, _, _ = socket.recv_fds(requests, 1, 5)
            if not asked:
                is_over = True
            elif (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                os.close(files[0])
                for end in (requests, awake, waker, *running.values()):
                    end.close()
                with os.fdopen(files[1]) as request:
                    return Request(*json.load(request), files[2:])
            else:
                running[pid] = socket.socket(fileno=files[0])
                with suppress(OSError):
                    running[pid].sendall(b"%d\n" % pid)
                for file in files[1:]:
                    os.close(file)
        for pid, connection in running.items():
            if is_over or connection in readable:
                os.kill(pid, signal.SIGKILL)
    return None


def _report_ends(running: dict[int, socket.socket]) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            with running.pop(pid) as connection, suppress(OSError):
                connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def main() -> None:
    """Import what the processes need, then serve."""
    for module in _PRELOADED:
        importlib.import_module(module)
        if module.endswith("__main__"):
            del sys.modules[module]  # it is run again under that name
    assert threading.active_count() == 1, "a process with threads must not fork"
    gc.freeze()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        request.become()


if __name__ == "__main__":
    main()
