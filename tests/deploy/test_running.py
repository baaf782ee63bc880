"""A running deployment: status, metrics, scaling, rolling, restarts."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.deploy.conftest import Deploy
from tests.deploy.deployment import HOST, Deployment
from tests.support.admin import TOKEN
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.rest import Rest, eventually
from tests.support.scrape import Scrape

OURS = ("heavy:heavy-1", "light:light-1", "fronts:front-1")
ALL = ("redis:valkey", *OURS)
NAMES = {name.partition(":")[2] for name in OURS}


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "token"
    path.write_text(TOKEN)
    return path


@pytest.fixture(scope="module")
def chat(deploy: Deploy, token: Path) -> Deployment:
    """A deployment with one process of each kind, shared by this module's tests, which restore its state."""
    chat = deploy(ADMIN_TOKEN_FILE=str(token))
    chat.start()
    chat.wait_until(lambda: chat.announced() and chat.runs(*ALL))
    del chat.environment["ADMIN_TOKEN_FILE"]  # commands adopt the settings of what runs
    return chat


def _cpu_seconds(chat: Deployment) -> float:
    return Scrape(chat.ask("/metrics")[1]).value("gischat_process_cpu_seconds_total", process="front-1")


def test_a_started_deployment_says_where_it_is_and_that_it_is_well(chat: Deployment) -> None:
    # Its log has one line for people, and the address works
    where = f"gischat: http://{HOST}:{chat.port}/"
    (line,) = [line for line in chat.log_text().splitlines() if line.startswith("gischat: ")]
    assert line == f"{where} — 1 front, 1 light worker, 1 heavy worker (Ctrl-C stops)"
    assert chat.ask("/readyz")[0] == 200

    # `gischat status` shows all processes
    answer = chat.gischat("status")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    headline, *processes = answer.stdout.splitlines()
    assert headline.endswith("— well")
    assert {(line.split()[0], line.split()[1]) for line in processes} == {(name, "RUNNING") for name in ALL}

    # `gischat check` recognizes the port as our own, and finds no fault of the embedded server
    answer = chat.gischat("check")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for found in ("a front of version", "is Valkey", "noeviction", "append-only file (appendfsync everysec)"):
        assert found in answer.stdout

    # A command can be run on the embedded server
    program = "import os, redis; print(redis.from_url(os.environ['REDIS_URL']).ping())"
    answer = chat.gischat("exec", "python", "-c", program)
    assert (answer.returncode, answer.stdout) == (0, "True\n"), answer.stderr

    # Only the owner can use the sockets and read the metrics' files
    for path in (".", "supervisor.sock", "valkey.sock", "metrics"):
        assert (chat.run_dir / path).stat().st_mode & 0o077 == 0, path


def test_without_a_light_worker_the_status_says_that_messages_are_not_delivered(chat: Deployment) -> None:
    # Given metrics of all processes
    chat.wait_until(lambda: chat.measures(*NAMES))

    # When there is no light worker, then `gischat status` says so first, and metrics omit it
    assert chat.gischat("scale", "light", "0").returncode == 0
    assert chat.measures(*NAMES - {"light-1"})
    chat.wait_until(lambda: chat.ask("/readyz")[0] == 503)
    answer = chat.gischat("status")
    assert answer.returncode != 0
    assert answer.stdout.startswith(f"gischat: http://{HOST}:{chat.port}/ — NOT WELL: ")

    # Until there is one again
    assert chat.gischat("scale", "light", "1").returncode == 0
    chat.wait_until(lambda: chat.gischat("status").returncode == 0)


async def test_without_a_heavy_worker_pictures_wait_and_fronts_stay_in_service(chat: Deployment) -> None:
    # Given no heavy worker, and a picture
    before = chat.pids()
    url = f"http://{HOST}:{chat.port}"
    assert chat.gischat("scale", "heavy", "0").returncode == 0
    assert "no heavy worker here: pictures and layers wait" in chat.gischat("status").stdout
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
    assert {name for name, pid in chat.pids().items() if before[name] != pid} == {"heavy:heavy-1"}
    await jane.leave()
    rest.close()


def test_scaling_a_group_does_not_affect_others(chat: Deployment) -> None:
    before = chat.pids()

    # When the group grows, then it has that number, and its old processes remain
    grown = chat.gischat("scale", "fronts", "2")
    assert grown.returncode == 0, grown.stdout + grown.stderr
    assert chat.runs(*ALL, "fronts:front-2")
    assert chat.pids() | before == chat.pids()

    # When supervisord is told to reload its configuration, then it finds no changes, and restarts nothing
    updated = chat.gischat("ctl", "update")
    assert updated.returncode == 0, updated.stdout + updated.stderr
    assert chat.pids() | before == chat.pids()

    # When it shrinks again, then only the new processes stop
    shrunk = chat.gischat("scale", "fronts", "1")
    assert shrunk.returncode == 0, shrunk.stdout + shrunk.stderr
    assert chat.pids() == before

    # When a process was stopped by hand, then scaling starts it
    assert chat.gischat("ctl", "stop", "light:light-1").returncode == 0
    assert chat.gischat("scale", "light", "1").returncode == 0
    assert chat.runs(*ALL)


@pytest.mark.parametrize("arguments", [["redis", "2"], ["light"], ["light", "-1"]])
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


def test_a_killed_process_is_restarted_and_its_counts_remain(chat: Deployment) -> None:
    # Given counts of a process
    chat.wait_until(lambda: chat.measures(*NAMES))
    used, files = _cpu_seconds(chat), len(list((chat.run_dir / "metrics").iterdir()))
    assert used > 0

    # When it is killed, and restarted
    pid = chat.pids()["fronts:front-1"]
    os.kill(pid, signal.SIGKILL)
    chat.wait_until(lambda: chat.pids().get("fronts:front-1") not in (0, pid) and chat.runs(*ALL))
    chat.wait_until(lambda: chat.measures(*NAMES))

    # Then its successor continues the counts, in the same files
    assert _cpu_seconds(chat) > used
    assert len(list((chat.run_dir / "metrics").iterdir())) == files


async def test_a_roll_restarts_all_processes_while_people_chat(chat: Deployment) -> None:
    before, url = chat.pids(), f"http://{HOST}:{chat.port}"
    jane = await Client.connect(url, "QGIS")
    refused = await asyncio.to_thread(chat.gischat, "roll", "light", "redis")
    reason = "ERROR: roll [<group> ...]: redis is none of heavy, light, bridges, fronts\n"
    assert (refused.returncode, refused.stdout) == (1, reason)

    # When all are restarted, then a new client can connect at any time
    rolling, joins = asyncio.create_task(asyncio.to_thread(chat.gischat, "roll")), 0
    while not rolling.done():
        newcomer = await Client.connect(url, "QGIS")
        joins += 1
        await newcomer.leave()
        await asyncio.sleep(0.05)  # leaves the processor to starting processes
    rolled = await rolling
    assert rolled.returncode == 0, rolled.stdout + rolled.stderr
    assert rolled.stdout.splitlines() == [f"{name} has been restarted" for name in OURS]
    assert joins

    # And all processes are new, and as many as before; connected clients were told to reconnect
    assert chat.runs(*ALL)
    assert {name for name, pid in chat.pids().items() if before[name] == pid} == {"redis:valkey"}
    assert (await jane.closed())[0] == 1001
    john = await Client.connect(url, "QGIS")
    await john.until(text=await john.say())
    await john.leave()


def test_a_roll_with_a_broken_version_stops_after_one_process(chat: Deployment, token: Path) -> None:
    # Given a fault that prevents new processes from starting
    before = chat.pids()
    token.write_text("short")
    try:
        # When all are to be restarted
        rolled = chat.gischat("roll")

        # Then the roll ends at the first process, and says so; all others keep running
        assert rolled.returncode == 1
        reason = "heavy:heavy-1 does not become ready (see the log); the rest runs as before"
        assert rolled.stdout == f"ERROR: {reason}\n"
        assert {name for name, pid in chat.pids().items() if pid != before[name]} == {"heavy:heavy-1"}
    finally:
        token.write_text(TOKEN)
        chat.wait_until(lambda: chat.gischat("scale", "heavy", "1").returncode == 0 and chat.runs(*ALL))
