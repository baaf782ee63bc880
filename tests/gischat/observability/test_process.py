"""What our processes do alike, seen from outside: exit status, stderr, signals."""

import json
import signal
import subprocess
import sys

import pytest

from tests.gischat.observability.conftest import program
from tests.support.fork_server import BARE_ENVIRONMENT, run
from tests.support.waiting import DEADLINE

pytestmark = pytest.mark.processes

FRONT = ("-m", "gischat")
WORKER = ("-m", "worker", "--lane", "all")

# A process of ours whose work is to wait until it is told to stop.
WAITING = program("front", 'print("ready", flush=True)', "await stop.wait()")


@pytest.mark.parametrize("command", [FRONT, WORKER])
def test_wrong_settings_end_a_process_with_all_of_them_named(command: tuple[str, ...]) -> None:
    # Given three wrong settings and a contradiction
    ended = run(*command, PORT="http", CHANNELS="QGIS,,", LOG_LEVEL="loud", MIN_AUTHOR_LENGTH="50")
    # Then the process says that starting it again does not help (EX_CONFIG), and why
    assert ended.returncode == 78
    named = {line.partition(":")[0] for line in ended.stderr.splitlines()[1:]}
    assert named == {"PORT", "CHANNELS", "LOG_LEVEL", "MAX_AUTHOR_LENGTH"}
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_stop_ends_in_order(number: signal.Signals) -> None:
    command, pipe = [sys.executable, "-c", WAITING], subprocess.PIPE
    with subprocess.Popen(command, env=BARE_ENVIRONMENT, text=True, stdout=pipe, stderr=pipe) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            _, log = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert json.loads(log.splitlines()[-1])["message"] == "stopped"


def test_a_fault_of_ours_ends_a_process_with_its_traceback() -> None:
    failing = ("async with asyncio.TaskGroup() as group:", "    group.create_task(fail())")
    ended = run("-c", program("worker", "async def fail():", '    raise ZeroDivisionError("a bug of ours")', *failing))
    assert ended.returncode == 1
    assert "ZeroDivisionError: a bug of ours" in ended.stderr
    assert "the worker failed" in ended.stderr


def test_a_process_logs_to_stderr_what_its_level_lets_through() -> None:
    ended = run("-c", WAITING.replace("await stop.wait()", "stop.set()"), LOG_LEVEL="warning")
    assert (ended.returncode, ended.stdout) == (0, "ready\n")
    assert "stopped" not in ended.stderr


@pytest.mark.parametrize("arguments", [(), ("--lane", "slow")])
def test_a_worker_without_a_lane_says_how_it_is_to_be_started(arguments: tuple[str, ...]) -> None:
    ended = run("-m", "worker", *arguments)
    assert ended.returncode == 2
    assert "--lane" in ended.stderr


CRYING = program(
    "front",
    "cry = asyncio.get_running_loop().call_exception_handler",
    'closed = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")',
    'cry({"message": "Fatal error on SSL protocol", "exception": closed})',
    'cry({"message": "Fatal error on SSL protocol", "exception": ZeroDivisionError("ours")})',
    'cry({"message": "Exception in callback", "exception": RuntimeError("is closed, too")})',
)


def test_what_a_callback_raises_is_logged_but_for_late_words_on_a_connection_that_we_closed() -> None:
    ended = run("-c", CRYING)
    assert "the handler is closed" not in ended.stderr
    assert "ours" in ended.stderr
    assert "is closed, too" in ended.stderr
