"""A running deployment: start, status, scaling, restarts."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.conftest import running
from tests.deploy.deployment import HOST, Deployment
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.rest import Rest, eventually

ALL = ("redis:valkey", "heavy:heavy-1", "light:light-1", "fronts:front-1")


@pytest.fixture(scope="module")
def chat(short_directory: Path) -> Iterator[Deployment]:
    """A deployment with one process of each kind, shared by this module's tests, which restore its state."""
    with running(short_directory, "chat", ALL) as deployment:
        yield deployment


def _status_of(chat: Deployment, path: str) -> int | None:
    """The status; None while nobody listens."""
    connection = http.client.HTTPConnection(HOST, chat.port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except ConnectionRefusedError:
        return None
    finally:
        connection.close()


def _headlines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("gischat: ")]


def test_one_line_names_the_address_once_the_chat_works(chat: Deployment) -> None:
    # Given a started deployment; then its log has one such line, and the address works
    where = f"gischat: http://{HOST}:{chat.port}/"
    assert _headlines(chat.log_text()) == [f"{where} — 1 front, 1 light worker, 1 heavy worker (Ctrl-C stops)"]
    assert _status_of(chat, "/readyz") == 200


def test_check_finds_no_faults_of_a_running_deployment(chat: Deployment) -> None:
    # When an operator runs `gischat check`
    answer = chat.gischat("check")

    # Then it recognizes the port as our own, and finds no fault of the embedded server
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for found in ("a front of version", "is Valkey", "noeviction", "append-only file (appendfsync everysec)"):
        assert f"{found}" in answer.stdout


def test_status_shows_all_processes_and_succeeds(chat: Deployment) -> None:
    # When an operator runs `gischat status`
    answer = chat.gischat("status")

    # Then the chat works, and the exit status is 0
    assert answer.returncode == 0, answer.stdout + answer.stderr
    headline, *processes = answer.stdout.splitlines()
    assert headline.endswith("— well")
    assert {(line.split()[0], line.split()[1]) for line in processes} == {(name, "RUNNING") for name in ALL}


def test_status_says_that_messages_are_not_delivered(chat: Deployment) -> None:
    # Given no light worker, so that no messages are delivered
    assert chat.gischat("scale", "light", "0").returncode == 0
    chat.wait_until(lambda: _status_of(chat, "/readyz") == 503)

    # When an operator runs `gischat status`, then it says so first, and the exit status is not 0
    answer = chat.gischat("status")
    assert answer.returncode != 0
    assert answer.stdout.startswith(f"gischat: http://{HOST}:{chat.port}/ — NOT WELL: ")

    # Until there is one again
    assert chat.gischat("scale", "light", "1").returncode == 0
    chat.wait_until(lambda: chat.gischat("status").returncode == 0)


def test_scaling_a_group_does_not_affect_others(chat: Deployment) -> None:
    before = chat.pids()

    # When the group grows, then it has that number, and its old processes remain
    grown = chat.gischat("scale", "fronts", "3")
    assert grown.returncode == 0, grown.stdout + grown.stderr
    assert chat.runs(*ALL, "fronts:front-2", "fronts:front-3")
    assert chat.pids() | before == chat.pids()

    # When it shrinks again, then only the new processes stop
    shrunk = chat.gischat("scale", "fronts", "1")
    assert shrunk.returncode == 0, shrunk.stdout + shrunk.stderr
    assert chat.runs(*ALL)
    assert chat.pids() == before


def test_a_group_can_shrink_to_nothing_and_come_back(chat: Deployment) -> None:
    before = chat.pids()

    assert chat.gischat("scale", "heavy", "0").returncode == 0
    assert "no heavy worker here: pictures and layers wait" in chat.gischat("status").stdout
    assert chat.runs("redis:valkey", "light:light-1", "fronts:front-1")

    assert chat.gischat("scale", "heavy", "1").returncode == 0
    assert chat.runs(*ALL)
    assert {name for name, pid in chat.pids().items() if before[name] != pid} == {"heavy:heavy-1"}


async def test_waiting_pictures_are_reported_and_fronts_stay_in_service(chat: Deployment) -> None:
    # Given no heavy worker, and a picture
    url = f"http://{HOST}:{chat.port}"
    assert chat.gischat("scale", "heavy", "0").returncode == 0
    jane = await Client.connect(url, "QGIS")
    await jane.send(**sample("image"))

    # When it has waited longer than with a live worker, then the front says so, and stays in service
    rest = Rest(url)

    async def reasons() -> list[str]:
        told: dict[str, list[str]] = await rest.get("/readyz")
        return told["reasons"]

    await eventually(reasons, ["pictures and layers wait: is a heavy worker running?"])
    status = await rest.get("/status")
    assert (status["status"], status["healthy"]) == ("degraded", False)
    answer = chat.gischat("status")
    assert answer.returncode == 0
    assert answer.stdout.startswith(f"gischat: {url}/ — well, but pictures and layers wait")

    # Until there is one again
    assert chat.gischat("scale", "heavy", "1").returncode == 0
    await jane.until(type="image")
    await eventually(reasons, [])
    assert (await rest.get("/status"))["status"] == "ok"
    await jane.leave()
    rest.close()


def test_scaling_starts_a_process_that_was_stopped_by_hand(chat: Deployment) -> None:
    assert chat.gischat("ctl", "stop", "light:light-1").returncode == 0
    assert chat.gischat("scale", "light", "1").returncode == 0
    assert chat.runs(*ALL)


def test_update_finds_nothing_to_change_after_scaling(chat: Deployment) -> None:
    # Given a group that was scaled
    assert chat.gischat("scale", "light", "2").returncode == 0
    scaled = chat.pids()

    # When supervisord is told to reload its configuration
    updated = chat.gischat("ctl", "update")

    # Then it finds no changes, and restarts nothing
    assert updated.returncode == 0, updated.stdout + updated.stderr
    assert chat.pids() == scaled
    assert chat.gischat("scale", "light", "1").returncode == 0


@pytest.mark.parametrize(
    "arguments", [["redis", "2"], ["light"], ["light", "many"], ["light", "-1"], ["light", "1", "2"]]
)
def test_invalid_scaling_is_refused(chat: Deployment, arguments: list[str]) -> None:
    before = chat.pids()

    refused = chat.gischat("scale", *arguments)

    assert refused.returncode != 0
    assert refused.stdout == "ERROR: scale <group> <number>, where group is one of fronts, light, heavy, bridges\n"
    assert chat.pids() == before


def test_a_second_start_is_refused_and_changes_nothing(chat: Deployment) -> None:
    before = chat.pids()

    refused = chat.gischat("up")

    assert refused.returncode == 1
    assert refused.stderr == f"gischat: already running, with pid {chat.pid} (`gischat stop` stops it)\n"
    assert chat.pids() == before


def test_only_the_owner_can_use_the_sockets(chat: Deployment) -> None:
    for path in (chat.run_dir, chat.run_dir / "supervisor.sock", chat.run_dir / "valkey.sock"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_command_can_be_run_on_the_embedded_redis(chat: Deployment) -> None:
    program = "import os, redis; print(redis.from_url(os.environ['REDIS_URL']).ping())"

    answer = chat.gischat("exec", "python", "-c", program)

    assert (answer.returncode, answer.stdout) == (0, "True\n"), answer.stderr
