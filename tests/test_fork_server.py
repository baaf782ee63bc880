"""A process that is forked is what one is that an interpreter was started for: same world, same end."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.fork_server import BARE_ENVIRONMENT

pytestmark = pytest.mark.processes

TELL = """
import json, os, signal, sys, threading
handlers = [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGCHLD, signal.SIGTERM)]
told = [__name__, sys.argv, sys.path, dict(os.environ), os.getcwd(), handlers, threading.active_count()]
print(json.dumps([*told, sys.stdin.read(), len(os.listdir("/dev/fd")), sys.stdout.write_through]))
"""

ENDS = {
    "nothing": "pass",
    "a number": "import sys; sys.exit(78)",
    "words": "import sys; sys.exit('no')",
    "a fault": "1 / 0",
    "a signal": "import os; os.kill(os.getpid(), 9)",
    "a thread": "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('later'))).start()",
    "a function for the end": "import atexit; atexit.register(print, 'at last')",
    "what nobody awaits": "async def coroutine(): pass\ncoroutine()",
}


def interpreter(*arguments: str, directory: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    world = {"cwd": directory, "env": BARE_ENVIRONMENT | environment, "stdin": subprocess.DEVNULL}
    return subprocess.run([sys.executable, *arguments], **world, capture_output=True, text=True)  # type: ignore[call-overload,no-any-return]


def test_it_finds_what_a_new_interpreter_finds(tmp_path: Path) -> None:
    (tmp_path / "tell.py").write_text(TELL)
    for arguments in (("-c", TELL, "a", "b"), ("-m", "tell", "a")):
        runs = (
            run(*arguments, directory=tmp_path, KEY="é", LC_ALL="C.UTF-8") for run in (interpreter, fork_server.run)
        )
        expected, forked = (json.loads(ran.stdout) for ran in runs)
        assert forked == expected


@pytest.mark.parametrize("program", ENDS.values(), ids=ENDS)
def test_it_ends_as_an_interpreter_ends(program: str, tmp_path: Path) -> None:
    expected, forked = (run("-c", program, directory=tmp_path) for run in (interpreter, fork_server.run))
    assert (forked.returncode, forked.stdout) == (expected.returncode, expected.stdout)
    assert forked.stderr.splitlines()[-1:] == expected.stderr.splitlines()[-1:]


def test_nothing_outlives_who_started_it(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        server = fork_server.ForkServer()
        process = server.start(["-c", "import time; time.sleep(600)"], {}, tmp_path, out)
    assert process.poll() is None
    server.stop()
    assert process.wait(60) == -signal.SIGKILL
