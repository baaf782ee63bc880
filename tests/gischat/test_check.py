"""`gischat check` on the machine's side, and as a command: what it prints, and its exit status."""

import http.server
import json
import resource
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gischat import __version__
from gischat.diagnostics import machine
from gischat.diagnostics.findings import Finding, Level, size
from tests.support import fork_server
from tests.support.processes import HOST, Valkey, free_port
from tests.support.settings import settings


def only(findings: Iterator[Finding]) -> Finding:
    (found,) = findings
    return found


@pytest.fixture
def port() -> int:
    """One that nobody listens on."""
    return free_port()


@pytest.fixture
def listener(port: int, request: pytest.FixtureRequest) -> Iterator[int]:
    """A server that answers every GET with `request.param`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(request.param)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer((HOST, port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield port
        server.shutdown()


def on(port: int, **changes: Any) -> Finding:
    return only(machine.check_port(settings(**{"host": HOST, "port": port, **changes})))


# The port


@pytest.mark.parametrize(
    ("listener", "level", "message"),
    [
        (json.dumps({"version": __version__}).encode(), Level.OK, f"a front of version {__version__} serves there"),
        (b'{"version": "0.0.1"}', Level.WARNING, f"a front of version 0.0.1 serves there, this is {__version__}"),
        *((answer, Level.ERROR, "is taken by another program") for answer in (b"<html>", b"[]", b'{"name": "x"}')),
    ],
    indirect=["listener"],
)
def test_a_port_that_somebody_has_is_well_if_that_is_a_front(listener: int, level: Level, message: str) -> None:
    assert (on(listener).level, on(listener).message) == (level, message)


def test_a_port_must_be_free_and_ours(port: int) -> None:
    assert on(port).level is Level.OK
    for host in ("192.0.2.1", "no-such-host.invalid"):
        found = on(port, host=host)
        assert found.level is Level.ERROR
        assert "HOST=" in f"{found.message} {found.remedy}"
    assert on(port, fronts=0, host="192.0.2.1").level is Level.OK  # a machine for workers needs none
    assert on(0).level is Level.WARNING  # the system's choice


# What the machine has


def test_too_few_open_files_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(soft: int, hard: int) -> Finding:
        monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (soft, hard))
        return only(machine.check_descriptors(settings()))

    assert limit(256, 65_536).level is Level.WARNING
    assert "LimitNOFILE=" in limit(256, 65_536).remedy
    assert "by itself" in limit(256, 65_536).remedy
    assert "hard limit is 256" in limit(256, 256).remedy
    assert limit(65_536, 65_536).level is Level.OK
    assert limit(resource.RLIM_INFINITY, resource.RLIM_INFINITY).level is Level.OK


def test_more_memory_for_sandboxes_than_there_is_is_told() -> None:
    assert only(machine.check_memory(settings(workers=(1, 0)))).level is Level.OK
    found = only(machine.check_memory(settings(workers=(1, 1000))))
    assert found.level is Level.WARNING
    assert "2000 GiB" in found.message
    assert "HEAVY_WORKERS" in found.remedy


def test_a_directory_without_room_or_permission_is_told(tmp_path: Path) -> None:
    small = settings(max_inbox_bytes=1, max_outbox_bytes=1)
    room, *_ = machine.check_embedded(small, tmp_path / "new" / "state")
    assert room.level is Level.OK
    (tmp_path / "file").write_text("no directory")
    assert only(machine.check_embedded(small, tmp_path / "file")).level is Level.ERROR
    found = next(machine.check_embedded(settings(max_inbox_bytes=2**60), tmp_path))
    assert (found.level, "STATE_DIR" in found.remedy) == (Level.WARNING, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_frame_size", 2**20), ("max_waiting_bytes", 2**20), ("max_unread_bytes", 2**20), ("max_stored_bytes", 2**30)],
)
def test_settings_that_do_not_go_together_are_told(name: str, value: int) -> None:
    read, *others = machine.check_settings(settings(**{name: value}))
    assert (read.level, [other.level for other in others]) == (Level.OK, [Level.WARNING])
    assert name.upper() in others[0].remedy
    assert len([*machine.check_settings(settings())]) == 1


def test_sizes_are_written_for_people() -> None:
    assert [size(number) for number in (512, 2048, 2**31)] == ["512 bytes", "2 KiB", "2 GiB"]


# The command


check = partial(fork_server.run, "-m", "gischat", "check")


@pytest.mark.processes
def test_where_all_is_well_the_status_is_0_in_spite_of_warnings(valkey: Valkey, port: int) -> None:
    told = check(REDIS_URL=valkey.url, PORT=str(port))
    assert told.returncode == 0, told.stdout
    lines = told.stdout.splitlines()
    assert "ok       settings: are read: instance gischat, 2 channels" in lines
    # The tests' server keeps nothing
    warned = next(number for number, line in enumerate(lines) if line.startswith("warning  redis"))
    assert lines[warned + 1].startswith("         fix: appendonly yes")
    assert lines[-1].startswith("gischat: 0 wrong, ")


@pytest.mark.processes
def test_where_something_is_wrong_the_status_is_1(port: int) -> None:
    told = check("--json", REDIS_URL=f"redis://:secret@{HOST}:{port}", FRONTS="0")
    assert told.returncode == 1
    answer = json.loads(told.stdout)
    assert answer["well"] is False
    found = answer["findings"][-1]
    assert found.keys() == {"level", "subject", "message", "remedy"}
    assert (found["level"], found["subject"]) == ("wrong", f"redis {HOST}:{port}")
    assert "secret" not in told.stdout + told.stderr


@pytest.mark.processes
def test_wrong_settings_are_all_named_with_status_78() -> None:
    told = check(PORT="http", REDIS_URL="redis://localhost:http")
    assert told.returncode == 78
    assert {"PORT", "REDIS_URL"} <= {line.partition(":")[0] for line in told.stderr.splitlines()}
    told = check("--json", PORT="http", CHANNELS=",")
    assert told.returncode == 78
    assert json.loads(told.stdout)["wrong_settings"].keys() == {"PORT", "CHANNELS"}


@pytest.mark.processes
def test_an_embedded_server_need_not_run_yet(tmp_path: Path) -> None:
    told = check("--up", STATE_DIR=str(tmp_path), FRONTS="0")
    assert told.returncode == 0
    assert "embedded server, which `gischat up` starts" in told.stdout
