"""One deployment that runs: what it starts, scales and starts again."""

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
    """One of each, shared by the tests of this file: each leaves it as it found it."""
    with running(short_directory, "chat", ALL) as deployment:
        yield deployment


def _status_of(chat: Deployment, path: str) -> int | None:
    """None while nobody listens."""
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


def test_it_says_in_one_line_where_the_chat_is_once_the_chat_works(chat: Deployment) -> None:
    # Given a deployment that has started; then there is one line of ours among those of the processes, and it holds
    where = f"gischat: http://{HOST}:{chat.port}/"
    assert _headlines(chat.log_text()) == [f"{where} — 1 front, 1 light worker, 1 heavy worker (Ctrl-C stops)"]
    assert _status_of(chat, "/readyz") == 200


def test_check_finds_a_running_chat_well_its_embedded_server_too(chat: Deployment) -> None:
    # When an operator lets all be checked while it runs
    answer = chat.gischat("check")

    # Then the port is found to be our own, and the embedded server as it should be
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for found in ("a front of version", "is Valkey", "noeviction", "append-only file (appendfsync everysec)"):
        assert f"{found}" in answer.stdout


def test_status_shows_every_process_and_that_all_is_well(chat: Deployment) -> None:
    # When an operator asks
    answer = chat.gischat("status")

    # Then the chat is well, and so the exit status 0
    assert answer.returncode == 0, answer.stdout + answer.stderr
    headline, *processes = answer.stdout.splitlines()
    assert headline.endswith("— well")
    assert {(line.split()[0], line.split()[1]) for line in processes} == {(name, "RUNNING") for name in ALL}


def test_status_tells_when_the_chat_does_not_work_though_all_run(chat: Deployment) -> None:
    # Given no worker for texts, so that no message comes round
    assert chat.gischat("scale", "light", "0").returncode == 0
    chat.wait_until(lambda: _status_of(chat, "/readyz") == 503)

    # When an operator asks, then that is what is said first, and the exit status is not 0
    answer = chat.gischat("status")
    assert answer.returncode != 0
    assert answer.stdout.startswith(f"gischat: http://{HOST}:{chat.port}/ — NOT WELL: ")

    # Until there is one again
    assert chat.gischat("scale", "light", "1").returncode == 0
    chat.wait_until(lambda: chat.gischat("status").returncode == 0)


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("fronts", ["fronts:front-1", "fronts:front-2", "fronts:front-3"]),
        ("light", ["light:light-1", "light:light-2", "light:light-3"]),
    ],
)
def test_scaling_a_group_leaves_all_others_alone(chat: Deployment, group: str, names: list[str]) -> None:
    before = chat.pids()

    # When the group grows, then it has that many, and who was there is still there
    grown = chat.gischat("scale", group, "3")
    assert grown.returncode == 0, grown.stdout + grown.stderr
    assert chat.runs(*ALL, *names[1:])
    assert chat.pids() | before == chat.pids()

    # When it shrinks again, then only those have gone that had come
    shrunk = chat.gischat("scale", group, "1")
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


async def test_pictures_that_wait_for_a_worker_are_told_and_take_no_front_out_of_service(chat: Deployment) -> None:
    # Given no heavy worker, and a picture
    url = f"http://{HOST}:{chat.port}"
    assert chat.gischat("scale", "heavy", "0").returncode == 0
    jane = await Client.connect(url, "QGIS")
    await jane.send(**sample("image"))

    # When it has waited for longer than a worker that lives lets it, then the front says so, and stays in service
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


def test_a_process_that_was_stopped_by_hand_is_started_by_scaling(chat: Deployment) -> None:
    assert chat.gischat("ctl", "stop", "light:light-1").returncode == 0
    assert chat.gischat("scale", "light", "1").returncode == 0
    assert chat.runs(*ALL)


def test_update_finds_nothing_to_change_after_scaling(chat: Deployment) -> None:
    # Given a group that was scaled
    assert chat.gischat("scale", "light", "2").returncode == 0
    scaled = chat.pids()

    # When supervisord is told to take up changes of its configuration
    updated = chat.gischat("ctl", "update")

    # Then it sees none, and restarts nothing
    assert updated.returncode == 0, updated.stdout + updated.stderr
    assert chat.pids() == scaled
    assert chat.gischat("scale", "light", "1").returncode == 0


@pytest.mark.parametrize(
    "arguments", [["redis", "2"], ["light"], ["light", "many"], ["light", "-1"], ["light", "1", "2"]]
)
def test_scaling_what_cannot_be_scaled_is_refused_in_words(chat: Deployment, arguments: list[str]) -> None:
    before = chat.pids()

    refused = chat.gischat("scale", *arguments)

    assert refused.returncode != 0
    assert refused.stdout == "ERROR: scale <group> <number>, where group is one of fronts, light, heavy, bridges\n"
    assert chat.pids() == before


def test_a_second_run_is_refused_and_harms_nobody(chat: Deployment) -> None:
    before = chat.pids()

    refused = chat.gischat("up")

    assert refused.returncode == 1
    assert refused.stderr == f"gischat: already running, with pid {chat.pid} (`gischat stop` stops it)\n"
    assert chat.pids() == before


def test_the_sockets_are_open_to_their_owner_alone(chat: Deployment) -> None:
    for path in (chat.run_dir, chat.run_dir / "supervisor.sock", chat.run_dir / "valkey.sock"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_command_can_be_run_on_the_embedded_redis(chat: Deployment) -> None:
    program = "import os, redis; print(redis.from_url(os.environ['REDIS_URL']).ping())"

    answer = chat.gischat("exec", "python", "-c", program)

    assert (answer.returncode, answer.stdout) == (0, "True\n"), answer.stderr
