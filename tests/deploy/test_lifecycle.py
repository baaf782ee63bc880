"""Deployments: start, refusals to start, output, and end."""

import json
import os
import pty
import re
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.deploy.conftest import Deploy
from tests.deploy.deployment import HOST, START_WITHIN, Deployment
from tests.support.processes import Valkey

# Only the embedded Redis, which starts quickly; enough for tests that do not need the chat.
REDIS_ALONE = {"FRONTS": "0", "LIGHT_WORKERS": "0", "HEAVY_WORKERS": "0"}


def _started(deployment: Deployment, *members: str) -> Deployment:
    deployment.start()
    deployment.wait_until(lambda: deployment.announced() and _runs(deployment, *members))
    return deployment


def _runs(deployment: Deployment, *members: str) -> bool:
    """Whether these processes run, and no others; the embedded server listens, so that a signal stops it in order."""
    listens = (deployment.run_dir / "valkey.sock").exists()
    return deployment.runs(*members) and (listens or "redis:valkey" not in members)


def _stopped(deployment: Deployment, number: signal.Signals = signal.SIGTERM) -> None:
    """Stop it; nothing is left behind."""
    deployment.signal(number)
    assert deployment.exit_status() == 0
    deployment.wait_until(lambda: not deployment.processes(), within=10)
    assert not [path for path in deployment.run_dir.rglob("*") if path.is_socket() or path.suffix == ".pid"]


# --- starting and stopping


def test_it_stops_in_order_also_after_it_was_killed(deploy: Deploy) -> None:
    # Given a deployment with all kinds of processes, whose supervisord is killed
    members = ("redis:valkey", "heavy:heavy-1", "light:light-1", "fronts:front-1")
    killed = _started(deploy(), *members)
    killed.signal(signal.SIGKILL)
    killed.exit_status()
    assert killed.processes()

    # When it is started again at once, with the sockets and pid file of the first run
    chat = _started(deploy(state_dir=killed.state_dir, PORT=str(killed.port)), *members)

    # Then no process of the first run is alive
    assert not killed.processes()

    # When it is stopped by Ctrl-C, then it stops fronts first, then workers, then Redis
    pids = chat.pids()
    _stopped(chat, signal.SIGINT)
    log = chat.log_text()
    front, *workers = (
        log.index(f"{name}[{pids[f'{group}:{name}']}] gischat.observability.process: stopped")
        for group, name in (("fronts", "front-1"), ("light", "light-1"), ("heavy", "heavy-1"))
    )
    assert front < min(workers)
    assert max(workers) < log.index("ready to exit")


def test_an_interpreter_need_not_be_called_python(deploy: Deploy, tmp_path: Path) -> None:
    # Given an environment that has only python3, like Debian's, and no shell; and a log with a line in it
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/python3").symlink_to(Path(sys.executable).resolve())
    (environment / "lib").symlink_to(Path(sys.prefix, "lib"))
    shutil.copy(Path(sys.prefix, "pyvenv.cfg"), environment)
    program = (environment / "bin/python3", "-m", "gischat")
    log = tmp_path / "log"
    log.write_text("an earlier line\n")
    chat = deploy(program=program, PATH=str(tmp_path), LOG_FILE=str(log), FRONTS="0", HEAVY_WORKERS="0")

    # Then everything runs, and the log is appended to
    _started(chat, "redis:valkey", "light:light-1")
    assert log.read_text().startswith("an earlier line\n")

    # When logrotate copies and truncates it, then later lines are at its beginning
    os.truncate(log, 0)
    _stopped(chat)
    later = log.read_text()
    assert later.startswith("20"), "a time, and no hole"
    assert "SIGTERM" in later
    assert "ready to exit" in log.read_text()

    # Only the line for people was printed to stdout
    assert [line for line in chat.log_text().splitlines() if not line.startswith("gischat: ")] == []


def test_commands_in_another_terminal_find_what_runs_and_its_settings(deploy: Deploy, tmp_path: Path) -> None:
    # Given a deployment with settings in its environment, a misspelt one there, and others in the file; and a state
    # directory whose path is too long for a unix socket
    chat = deploy(
        **REDIS_ALONE,
        state_dir=tmp_path / ("deep" * 30),
        CHANNELS="Field work",
        INSTANCE_ID="second",
        MAX_MESAGE_LENGTH="9",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="",
    )
    (chat.directory / "env").write_text("CHANELS=Field\nLOG_FILE_FORMAT=json\nOTEL_SERVICE_NAME=chat\n")
    chat.run_dir = Path(chat.gischat("exec", "sh", "-c", 'printf %s "$RUN_DIR"').stdout)
    assert chat.run_dir != chat.state_dir
    try:
        _started(chat, "redis:valkey")
        assert chat.run_dir.stat().st_mode & 0o777 == 0o700
        del chat.environment["CHANNELS"], chat.environment["INSTANCE_ID"]

        # Then commands without these settings find them
        checked = chat.gischat("check").stdout
        assert "instance second, 1 channels" in checked
        assert chat.gischat("dead-letters", "list").stdout == "0 dead letters\n"

        # And wrong names are told with the right ones
        for complaint in (
            "CHANELS in .env is no setting: did you mean CHANNELS?",
            "LOG_FILE_FORMAT in .env is no setting",
            "MAX_MESAGE_LENGTH in the environment is no setting: did you mean MAX_MESSAGE_LENGTH?",
        ):
            assert complaint in chat.log_text()
            assert complaint in checked
        assert "OTEL" not in checked  # a library has settings that gischat does not know

        # When it is stopped by a command, its data remain, and it is not found any more
        with redis.Redis(unix_socket_path=str(chat.run_dir / "valkey.sock")) as client:
            client.mset({"before": "yes"})
            client.mset({"after": "lost"})
        stopped = chat.gischat("stop")
        assert (stopped.returncode, stopped.stdout) == (0, "gischat: stopped\n")
        answer = chat.gischat("status")
        assert (answer.returncode, answer.stderr) == (1, "gischat: not running here\n")
        assert chat.gischat("stop").returncode == 1

        # When it is started at once, and its data were damaged in the middle
        (file,) = (chat.state_dir / "appendonlydir").glob("*.incr.aof")
        damaged = file.read_bytes().replace(b"$5\r\nafter", b"#5\r\nafter")
        file.write_bytes(damaged)
        chat.start()

        # Then it runs with the undamaged part, says so, and keeps the original
        chat.wait_until(lambda: _runs(chat, "redis:valkey") and "was damaged at byte" in chat.log_text())
        chat.wait_until(lambda: _values(chat, "before", "after") == [b"yes", None])
        (kept,) = chat.state_dir.glob("*.damaged-*")
        assert kept.read_bytes() == damaged
    finally:
        chat.clean_up()
        shutil.rmtree(chat.run_dir)


def _values(chat: Deployment, *keys: str) -> object:
    with redis.Redis(unix_socket_path=str(chat.run_dir / "valkey.sock")) as client:
        try:
            return client.mget(*keys)
        except redis.ConnectionError:
            return None


# --- settings


def test_settings_are_read_from_the_file_and_the_environment_precedes(deploy: Deploy) -> None:
    # Given a file with values that a shell would split
    chat = deploy(MAIN_LANG="de")
    Path(chat.environment["ENV_FILE"]).write_text(
        "CHANNELS=QGIS,Field and mobile\nRULES='Be kind; 100 % # always ${HOME}'\nMAIN_LANG=fr\nREDIS_URL=\n"
    )

    # When a process of the deployment reads its environment
    names = ["CHANNELS", "RULES", "MAIN_LANG", "REDIS_URL"]
    program = f"import json, os; print(json.dumps([os.environ[name] for name in {names}]))"
    answer = chat.gischat("exec", "python", "-c", program)

    # Then the values are unchanged; an empty REDIS_URL means the embedded server
    assert json.loads(answer.stdout) == [
        "QGIS,Field and mobile",
        "Be kind; 100 % # always ${HOME}",
        "de",
        f"unix://{chat.run_dir}/valkey.sock",
    ]


def test_all_wrong_settings_are_named_before_anything_starts(deploy: Deploy) -> None:
    chat = deploy(LIGHT_WORKERS="-1", LOG_LEVEL="loud", MAX_IMAGE_SIZE="big")
    refused = chat.gischat("up")
    assert refused.returncode == 78
    headline, *lines = refused.stderr.splitlines()
    assert headline == "gischat: wrong settings:"
    assert {line.split(":")[0].strip() for line in lines} == {"LIGHT_WORKERS", "LOG_LEVEL", "MAX_IMAGE_SIZE"}
    assert not chat.state_dir.exists()


@pytest.mark.parametrize(
    ("settings", "status", "reason"),
    [
        ({"PORT": "0"}, 1, "PORT=0 would be a different port for each front: set one"),
        ({"STATE_DIR": "/proc/state"}, 1, "STATE_DIR=/proc/state: /proc/state: No such file or directory"),
        ({"LOG_FILE": "/nowhere/log"}, 1, "LOG_FILE=/nowhere/log: No such file or directory"),
        ({"HOST": "192.0.2.1", "PORT": "8000"}, 1, "cannot listen on 192.0.2.1, port 8000"),
        ({"ENV_FILE": "/nowhere/env"}, 78, "ENV_FILE=/nowhere/env: there is no such file"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_start_that_cannot_work_is_refused_in_one_line(
    deploy: Deploy, settings: dict[str, str], status: int, reason: str
) -> None:
    refused = deploy(**settings).gischat("up")
    assert refused.returncode == status
    assert refused.stderr.startswith(f"gischat: {reason}")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["PORT", "METRICS_PORT"])
def test_a_port_in_use_is_refused_even_if_the_other_program_would_share_it(deploy: Deploy, name: str) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        refused = deploy(**{name: str(port)}).gischat("up")
    reason = f"cannot listen on {HOST}, port {port}: another program has it (see {name} and HOST)"
    assert (refused.returncode, refused.stderr) == (1, f"gischat: {reason}\n")


# --- output


def test_output_to_a_socket_consists_of_records(deploy: Deploy, valkey: Valkey) -> None:
    """As the journal of systemd uses: it cannot simply be reopened."""
    # Given a deployment whose output goes to a socket, with a Valkey that is not its own
    ours, its = socket.socketpair()
    chat = deploy(LOG_FORMAT="auto", REDIS_URL=valkey.url, INSTANCE_ID="records", HEAVY_WORKERS="0")
    chat.start(its.fileno())
    its.close()
    ours.settimeout(START_WITHIN)
    records: list[dict[str, str]] = []
    with ours, ours.makefile() as lines:
        while not records or "(Ctrl-C stops)" not in records[-1]["message"]:
            records.append(json.loads(lines.readline()))

        # When a process is killed, and the deployment is stopped
        pid = chat.pids()["light:light-1"]
        os.kill(pid, signal.SIGKILL)
        chat.wait_until(lambda: chat.pids()["light:light-1"] not in (0, pid))
        _stopped(chat)
        records += map(json.loads, lines)

    # Then each line is a record with its process' name, also those of supervisord
    assert {record["process"] for record in records} == {"launcher", "supervisord", "front-1", "light-1"}
    messages = [record["message"] for record in records if record["process"] == "supervisord"]
    assert [message for message in messages if "light-1" in message and "SIGKILL" in message]


@pytest.mark.parametrize("is_foreign", [False, True], ids=["own", "foreign"])
def test_output_to_a_file_is_whole(deploy: Deploy, tmp_path: Path, is_foreign: bool) -> None:
    # Given a deployment that was started with `> log`, or by another user, as systemd does as root: then this user may
    # not open the file
    log = tmp_path / "log"
    chat = deploy(**REDIS_ALONE)
    without_privilege = ["setpriv", "--bounding-set=-dac_override"] if is_foreign and os.geteuid() == 0 else []
    with log.open("wb") as output:
        if is_foreign:
            log.chmod(0o400)
        chat.start(output, through=without_privilege)
    chat.wait_until(lambda: _runs(chat, "redis:valkey") and "(Ctrl-C stops)" in log.read_text())

    # When it is stopped, then all output has arrived, and each line begins like one of ours, Valkey's or supervisord's
    _stopped(chat)
    lines = log.read_text().splitlines()
    assert "ready to exit" in lines[-1]
    assert [line for line in lines if not re.match(r"gischat: |\d+:|\d{4}-\d\d-\d\d[ T]", line)] == []


@pytest.mark.parametrize("make", [os.pipe, pty.openpty], ids=["pipe", "terminal"])
def test_it_stops_in_order_although_nobody_reads_its_output(
    deploy: Deploy, make: Callable[[], tuple[int, int]]
) -> None:
    # Given a deployment whose output is no longer read: `| tee` after Ctrl-C, a closed terminal
    ours, its = make()
    chat = deploy(**{**REDIS_ALONE, "LOG_FORMAT": "auto"})
    chat.start(its)
    os.close(its)
    output = b""
    while b"(Ctrl-C stops)" not in output:
        output += os.read(ours, 65536)
    assert (b"gischat: no front here" in output) is (make is pty.openpty)  # a terminal is for people
    chat.wait_until(lambda: _runs(chat, "redis:valkey"))
    os.close(ours)

    # When it is stopped, then it stops as usual
    _stopped(chat, signal.SIGHUP)
