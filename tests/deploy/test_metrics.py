"""`make run`: an answer of `/metrics` covers all processes of the machine, also after crashes and restarts."""

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.conftest import Deploy, running
from tests.deploy.deployment import HOST, Deployment
from tests.support.processes import free_port
from tests.support.scrape import Scrape

ALL = ("redis:valkey", "light:light-1", "light:light-2", "fronts:front-1", "fronts:front-2")
NAMES = {name.partition(":")[2] for name in ALL} - {"valkey"}


@pytest.fixture(scope="module")
def chat(short_directory: Path) -> Iterator[Deployment]:
    """Two fronts, two workers."""
    with running(short_directory, "metrics", ALL, FRONTS="2", LIGHT_WORKERS="2", HEAVY_WORKERS="0") as deployment:
        yield deployment


def scrape(port: int) -> Scrape | None:
    """The metrics; None while nobody listens."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        return Scrape(answer.read().decode())
    except ConnectionError:
        return None
    finally:
        connection.close()


def tells_of(port: int, names: set[str]) -> bool:
    told = scrape(port)
    return told is not None and told.label("gischat_build_info", "process") == names


def test_one_answer_covers_all_processes(chat: Deployment) -> None:
    chat.wait_until(lambda: tells_of(chat.port, NAMES))


def test_only_the_owner_can_read_the_files(chat: Deployment) -> None:
    assert (chat.run_dir / "metrics").stat().st_mode & 0o077 == 0


def test_the_counts_of_a_killed_process_remain(chat: Deployment) -> None:
    # Given counts of a process
    member, name = "fronts:front-1", "front-1"
    chat.wait_until(lambda: tells_of(chat.port, NAMES))
    before = scrape(chat.port)
    assert before is not None
    used = before.value("gischat_process_cpu_seconds_total", process=name)
    files = len(list((chat.run_dir / "metrics").iterdir()))
    assert used > 0

    # When it is killed, and restarted
    pid = chat.pids()[member]
    os.kill(pid, signal.SIGKILL)
    chat.wait_until(lambda: chat.pids().get(member) not in (0, pid) and chat.runs(*ALL))
    chat.wait_until(lambda: tells_of(chat.port, NAMES))

    # Then its successor continues the counts, in the same files
    after = scrape(chat.port)
    assert after is not None
    assert after.value("gischat_process_cpu_seconds_total", process=name) > used
    assert len(list((chat.run_dir / "metrics").iterdir())) == files


def test_metrics_omit_stopped_processes(chat: Deployment) -> None:
    assert chat.gischat("scale", "light", "1").returncode == 0
    assert tells_of(chat.port, NAMES - {"light-2"})
    assert chat.gischat("scale", "light", "2").returncode == 0
    chat.wait_until(lambda: tells_of(chat.port, NAMES))


def test_a_machine_with_only_workers_has_a_metrics_port(deployment: Deploy) -> None:
    # Given a machine without fronts that has files of an earlier run
    port = free_port()
    workers = deployment(FRONTS="0", LIGHT_WORKERS="2", HEAVY_WORKERS="0", METRICS_PORT=str(port))
    stale = workers.state_dir / "metrics" / "counter_light-9.db"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of another version, perhaps")

    # When it is started
    workers.start()

    # Then each worker answers for all, and the old files are gone
    workers.wait_until(lambda: tells_of(port, {"light-1", "light-2"}))
    assert not stale.exists()


def test_a_metrics_port_in_use_is_refused(deployment: Deploy) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = deployment(METRICS_PORT=str(port)).gischat("up")
    reason = f"cannot listen on {HOST}, port {port}: another program has it (see METRICS_PORT and HOST)"
    assert (answer.returncode, answer.stderr) == (1, f"gischat: {reason}\n")
