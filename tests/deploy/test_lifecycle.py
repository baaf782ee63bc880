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
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.deploy.deployment import HOST, REDIS_ALONE, Deployment
from tests.support.processes import Valkey

Deploy = Callable[..., Deployment]

ALL = ("redis:valkey", "heavy:heavy-1", "light:light-1", "fronts:front-1")


def _started(deployment: Deployment) -> Deployment:
    deployment.start()
    deployment.wait_until(deployment.announced)
    return deployment


def _assert_nothing_left(deployment: Deployment) -> None:
    deployment.wait_until(lambda: not deployment.processes(), within=10)
    assert not [path for path in deployment.run_dir.rglob("*") if path.is_socket() or path.suffix == ".pid"]


# --- stopping


def test_a_signal_stops_everything_in_order_and_leaves_nothing_behind(deployment: Deploy) -> None:
    # Given a deployment with all kinds of processes
    chat = deployment()
    chat.start()
    chat.wait_until(lambda: chat.announced() and chat.runs(*ALL))
    pids = chat.pids()

    # When it is stopped by Ctrl-C (for SIGTERM, and a terminal that closes, see below)
    chat.signal(signal.SIGINT)

    # Then it stops fronts first, then workers, then Redis
    assert chat.exit_status() == 0
    log = chat.log_text()
    ends = [log.index(f"front-1[{pids['fronts:front-1']}] gischat.observability.process: stopped")]
    ends += [
        log.index(f"{lane}-1[{pids[f'{lane}:{lane}-1']}] gischat.observability.process: stopped")
        for lane in ("light", "heavy")
    ]
    ends += [log.index("ready to exit")]
    assert ends == sorted(ends)
    _assert_nothing_left(chat)


def test_processes_die_with_a_killed_supervisord_and_the_next_start_waits_for_that(deployment: Deploy) -> None:
    # Given a deployment whose supervisord is killed
    members = [name for name in ALL if name != "heavy:heavy-1"]
    chat = deployment(HEAVY_WORKERS="0")
    chat.start()
    chat.wait_until(lambda: chat.announced() and chat.runs(*members))
    chat.signal(signal.SIGKILL)
    chat.exit_status()
    left = chat.pid, chat.processes()

    # When it is started again at once, with the sockets and pid file of the first run
    again = deployment("again", state_dir=chat.state_dir, PORT=str(chat.port), HEAVY_WORKERS="0")
    _started(again)

    # Then no process of the first run is alive
    assert left[1]
    assert not chat.processes()
    again.wait_until(lambda: again.runs(*members))


# --- starting


def test_a_given_redis_is_used_and_none_is_started(deployment: Deploy, valkey: Valkey) -> None:
    # Given a server's address, and the numbers of a machine with only light workers
    chat = deployment(REDIS_URL=valkey.url, INSTANCE_ID="given-redis", FRONTS="0", LIGHT_WORKERS="2", HEAVY_WORKERS="0")

    # When it is started
    _started(chat)

    # Then there is no other server, and no other process
    chat.wait_until(lambda: chat.runs("light:light-1", "light:light-2"))
    assert "gischat: no front here — 0 fronts, 2 light workers, 0 heavy workers (Ctrl-C stops)\n" in chat.log_text()
    assert not (chat.run_dir / "valkey.sock").exists()


def test_an_interpreter_need_not_be_called_python(deployment: Deploy, tmp_path: Path) -> None:
    # Given an environment that has only python3, like Debian's
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/python3").symlink_to(Path(sys.executable).resolve())
    (environment / "lib").symlink_to(Path(sys.prefix, "lib"))
    shutil.copy(Path(sys.prefix, "pyvenv.cfg"), environment)
    program = (environment / "bin/python3", "-m", "gischat")
    log = str(tmp_path / "log")  # without it a shell would be needed, which PATH does not have either
    chat = deployment(program=program, PATH=str(tmp_path), LOG_FILE=log, FRONTS="0", HEAVY_WORKERS="0")

    # Then everything runs
    chat.start()
    chat.wait_until(lambda: chat.runs("redis:valkey", "light:light-1"))
    chat.signal(signal.SIGTERM)
    assert chat.exit_status() == 0


def test_sockets_are_elsewhere_if_the_state_directorys_path_is_too_long(deployment: Deploy, tmp_path: Path) -> None:
    # Given a path that is too long for a unix socket
    chat = deployment(state_dir=tmp_path / ("deep" * 30), **REDIS_ALONE)
    chat.run_dir = Path(chat.gischat("exec", "sh", "-c", 'printf %s "$RUN_DIR"').stdout)
    assert chat.run_dir != chat.state_dir
    try:
        # When it is started, then it runs, with its data in that directory
        _started(chat)
        chat.wait_until(lambda: chat.runs("redis:valkey"))
        assert chat.run_dir.stat().st_mode & 0o777 == 0o700
        chat.wait_until((chat.state_dir / "appendonlydir").is_dir)
    finally:
        chat.clean_up()
        shutil.rmtree(chat.run_dir)


# --- settings


def test_settings_are_read_from_the_file_and_the_environment_precedes(deployment: Deploy) -> None:
    # Given a file with values that a shell would split
    chat = deployment(MAIN_LANG="de")
    Path(chat.environment["ENV_FILE"]).write_text(
        "CHANNELS=QGIS,Field and mobile\n"
        "RULES='Be kind; 100 % # always ${HOME}'\n"
        "MAIN_LANG=fr\n"
        "REDIS_URL=\n"
    )  # fmt: skip

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


def test_all_wrong_settings_are_named_before_anything_starts(deployment: Deploy) -> None:
    chat = deployment(LIGHT_WORKERS="-1", LOG_LEVEL="loud", MAX_IMAGE_SIZE="big")

    refused = chat.gischat("up")

    assert refused.returncode == 78
    assert refused.stderr.startswith("gischat: wrong settings:\n")
    assert {line.split(":")[0].strip() for line in refused.stderr.splitlines()[1:]} == {
        "LIGHT_WORKERS",
        "LOG_LEVEL",
        "MAX_IMAGE_SIZE",
    }
    assert not chat.state_dir.exists()


def test_a_port_in_use_is_refused_even_if_the_other_program_would_share_it(deployment: Deploy) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]

        refused = deployment(PORT=str(port)).gischat("up")

    assert refused.returncode == 1
    reason = f"cannot listen on {HOST}, port {port}: another program has it (see PORT and HOST)"
    assert refused.stderr == f"gischat: {reason}\n"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"PORT": "0"}, "PORT=0 would be a different port for each front: set one"),
        ({"STATE_DIR": "/proc/state"}, "STATE_DIR=/proc/state: /proc/state: No such file or directory"),
        ({"LOG_FILE": "/nowhere/log"}, "LOG_FILE=/nowhere/log: No such file or directory"),
        ({"HOST": "192.0.2.1", "PORT": "8000"}, "cannot listen on 192.0.2.1, port 8000"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_start_that_cannot_work_is_refused_in_one_line(
    deployment: Deploy, settings: dict[str, str], reason: str
) -> None:
    refused = deployment(**settings).gischat("up")

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"gischat: {reason}")
    assert refused.stderr.count("\n") == 1


def test_a_missing_env_file_is_a_wrong_setting(deployment: Deploy) -> None:
    refused = deployment(ENV_FILE="/nowhere/env").gischat("up")

    assert (refused.returncode, refused.stderr) == (78, "gischat: ENV_FILE=/nowhere/env: there is no such file\n")


def test_commands_in_another_terminal_find_what_runs_and_its_settings(deployment: Deploy) -> None:
    # Given a deployment with settings in its environment, a misspelt one there, and others in the file
    chat = deployment(
        **REDIS_ALONE,
        CHANNELS="Field work",
        INSTANCE_ID="second",
        MAX_MESAGE_LENGTH="9",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="",
    )
    (chat.directory / "env").write_text("CHANELS=Field\nLOG_FILE_FORMAT=json\nOTEL_SERVICE_NAME=chat\n")
    chat.start()
    chat.wait_until(chat.announced)
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

    # When it is stopped by a command, it can be started again at once
    stopped = chat.gischat("stop")
    assert (stopped.returncode, stopped.stdout) == (0, "gischat: stopped\n")
    answer = chat.gischat("status")
    assert (answer.returncode, answer.stderr) == (1, "gischat: not running here\n")
    assert chat.gischat("stop").returncode == 1
    again = deployment("again", state_dir=chat.state_dir, **REDIS_ALONE).start()
    again.wait_until(again.announced)
    assert "already running" not in again.log_text()


def test_a_damaged_append_only_file_is_truncated_after_a_backup(deployment: Deploy) -> None:
    # Given the data of an earlier run, damaged in the middle
    chat = deployment(**REDIS_ALONE).start()
    chat.wait_until(lambda: chat.runs("redis:valkey"))
    with redis.Redis(unix_socket_path=str(chat.run_dir / "valkey.sock")) as client:
        client.mset({"before": "yes"})
        client.mset({"after": "lost"})
    assert chat.gischat("stop").returncode == 0
    (file,) = (chat.state_dir / "appendonlydir").glob("*.incr.aof")
    damaged = file.read_bytes().replace(b"$5\r\nafter", b"#5\r\nafter")
    file.write_bytes(damaged)

    # When it is started
    chat.start()

    # Then it runs with the undamaged part, says so, and keeps the original
    chat.wait_until(lambda: chat.runs("redis:valkey") and "was damaged at byte" in chat.log_text())
    with redis.Redis(
        unix_socket_path=str(chat.run_dir / "valkey.sock"), retry=Retry(ConstantBackoff(0.1), 100)
    ) as client:
        assert client.mget("before", "after") == [b"yes", None]
    (kept,) = chat.state_dir.glob("*.damaged-*")
    assert kept.read_bytes() == damaged


# --- output


def test_the_log_file_is_appended_to_and_may_be_truncated(deployment: Deploy, tmp_path: Path) -> None:
    # Given a log with a line in it
    log = tmp_path / "gischat.log"
    log.write_text("an earlier line\n")
    chat = deployment(LOG_FILE=str(log), **REDIS_ALONE)

    # When a deployment runs
    _started(chat)
    chat.wait_until(lambda: chat.runs("redis:valkey"))
    assert log.read_text().startswith("an earlier line\n")

    # and logrotate copies and truncates the file, then later lines are at its beginning
    os.truncate(log, 0)
    chat.signal(signal.SIGTERM)
    assert chat.exit_status() == 0
    assert "SIGTERM" in log.read_text().splitlines()[0]
    assert "ready to exit" in log.read_text()

    # Only the line for people was printed to stdout
    assert [line for line in chat.log_text().splitlines() if not line.startswith("gischat: ")] == []


def test_output_to_a_file_consists_of_records(deployment: Deploy, valkey: Valkey) -> None:
    # Given a deployment whose output goes to a file, with a Valkey that is not its own
    chat = deployment(LOG_FORMAT="auto", REDIS_URL=valkey.url, INSTANCE_ID="records", HEAVY_WORKERS="0")
    _started(chat)

    # When a process is killed, and the deployment is stopped
    os.kill(chat.pids()["light:light-1"], signal.SIGKILL)
    chat.wait_until(lambda: '"level": "WARNING"' in chat.log_text())
    chat.signal(signal.SIGTERM)
    assert chat.exit_status() == 0

    # Then each line is a record with its process' name, also those of supervisord
    records = [json.loads(line) for line in chat.log_text().splitlines()]
    assert {record["process"] for record in records} == {"launcher", "supervisord", "front-1", "light-1"}
    assert [
        r for r in records if r["process"] == "supervisord" and "light-1" in r["message"] and "SIGKILL" in r["message"]
    ]


def _socket() -> tuple[int, int]:
    """A socket, as the journal of systemd uses."""
    ours, its = socket.socketpair()
    return ours.detach(), its.detach()


def _read_all(descriptor: int) -> str:
    """Read until all writers have closed it, which a terminal reports by an error."""
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


@pytest.mark.parametrize("make", [_socket, pty.openpty], ids=["socket", "terminal"])
def test_output_goes_to_any_kind_of_stdout(deployment: Deploy, make: Callable[[], tuple[int, int]]) -> None:
    # Given a deployment whose stdout cannot simply be reopened
    ours, its = make()
    chat = deployment(LOG_FORMAT="auto", **REDIS_ALONE)
    chat.start(its)
    os.close(its)
    chat.wait_until(lambda: chat.runs("redis:valkey"))

    # When it is stopped
    chat.signal(signal.SIGTERM)
    assert chat.exit_status() == 0

    # Then all lines have arrived, as text on a terminal
    output = _read_all(ours)
    assert "(Ctrl-C stops)" in output
    assert "ready to exit" in output
    assert ("gischat: no front here" in output) is (make is pty.openpty)
    assert ('"message"' in output) is not (make is pty.openpty)


def test_output_to_a_file_is_not_overwritten(deployment: Deploy, tmp_path: Path) -> None:
    # Given a deployment that was started with `> log`
    log = tmp_path / "log"
    chat = deployment(**REDIS_ALONE)
    with log.open("wb") as output:
        chat.start(output)
    chat.wait_until(lambda: chat.runs("redis:valkey") and "(Ctrl-C stops)" in log.read_text())

    # When it is stopped
    chat.signal(signal.SIGTERM)
    assert chat.exit_status() == 0

    # Then each line begins like one of ours, Valkey's or supervisord's
    lines = log.read_text().splitlines()
    assert "ready to exit" in lines[-1]
    assert [line for line in lines if not re.match(r"gischat: |\d+:|\d{4}-\d\d-\d\d[ T]", line)] == []


def test_output_to_a_file_that_only_root_may_open_arrives(deployment: Deploy, tmp_path: Path) -> None:
    # Given a file that was opened by another user, as systemd does as root, and that this user may not open
    log = tmp_path / "log"
    chat = deployment(**REDIS_ALONE)
    without_privilege = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    with log.open("ab") as output:
        log.chmod(0o400)
        chat.start(output, through=without_privilege)
    chat.wait_until(lambda: chat.runs("redis:valkey"))

    # When it is stopped, then all output has arrived
    chat.signal(signal.SIGTERM)
    assert chat.exit_status() == 0
    assert "ready to exit" in log.read_text()


@pytest.mark.parametrize("make", [os.pipe, pty.openpty], ids=["pipe", "terminal"])
def test_it_stops_in_order_although_nobody_reads_its_output(
    deployment: Deploy, make: Callable[[], tuple[int, int]]
) -> None:
    # Given a deployment whose output is no longer read: `| tee` after Ctrl-C, a closed terminal
    ours, its = make()
    chat = deployment(**REDIS_ALONE)
    chat.start(its)
    os.close(its)
    chat.wait_until(lambda: chat.runs("redis:valkey"))
    os.close(ours)

    # When it is stopped
    chat.signal(signal.SIGHUP)

    # Then it stops as usual
    assert chat.exit_status() == 0
    _assert_nothing_left(chat)


def test_check_finds_faults_before_the_start(deployment: Deploy) -> None:
    # Given a deployment that is not started
    fresh = deployment()

    # Then no fault is found without the embedded server, which starts later; wrong settings are named
    checked = fresh.gischat("check", "--up")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "embedded server, which `gischat up` starts" in checked.stdout
    assert "MAX_STORED_MESSAGES" in deployment(MAX_STORED_MESSAGES="-1").gischat("check").stderr
