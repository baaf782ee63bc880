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


def test_a_port_that_is_free_is_well(port: int) -> None:
    assert on(port).level is Level.OK


@pytest.mark.parametrize("listener", [json.dumps({"version": __version__}).encode()], indirect=True)
def test_a_port_that_a_front_has_is_well(listener: int) -> None:
    assert (on(listener).level, on(listener).message) == (Level.OK, f"a front of version {__version__} serves there")


@pytest.mark.parametrize("listener", [b'{"version": "0.0.1"}'], indirect=True)
def test_a_front_of_another_version_is_told(listener: int) -> None:
    assert on(listener).level is Level.WARNING
    assert "0.0.1" in on(listener).message
    assert __version__ in on(listener).message


@pytest.mark.parametrize("listener", [b"<html>", b"[]", b'{"name": "x"}'], indirect=True)
def test_a_port_that_a_stranger_has_is_wrong(listener: int) -> None:
    assert (on(listener).level, on(listener).message) == (Level.ERROR, "is taken by another program")


def test_an_address_that_is_not_ours_is_wrong(port: int) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        assert on(port, host=host).level is Level.ERROR
        assert "HOST=" in f"{on(port, host=host).message} {on(port, host=host).remedy}"


def test_a_machine_for_workers_needs_no_port(port: int) -> None:
    assert on(port, fronts=0, host="192.0.2.1").level is Level.OK


def test_a_port_of_the_systems_choice_is_told() -> None:
    assert on(0).level is Level.WARNING


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


def test_a_directory_that_can_be_written_to_is_well(tmp_path: Path) -> None:
    found = [*machine.check_embedded(settings(max_inbox_bytes=1, max_outbox_bytes=1), tmp_path / "new" / "state")]
    assert found[0].level is Level.OK


def test_a_directory_that_cannot_be_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no directory")
    assert only(machine.check_embedded(settings(), tmp_path / "state")).level is Level.ERROR


def test_a_directory_without_room_is_told(tmp_path: Path) -> None:
    found = [*machine.check_embedded(settings(max_inbox_bytes=2**60), tmp_path)]
    assert found[0].level is Level.WARNING
    assert "STATE_DIR" in found[0].remedy


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_frame_size", 2**20), ("max_waiting_bytes", 2**20), ("max_unread_bytes", 2**20), ("max_stored_bytes", 2**30)],
)
def test_settings_that_do_not_go_together_are_told(name: str, value: int) -> None:
    read, *others = machine.check_settings(settings(**{name: value}))
    assert (read.level, [other.level for other in others]) == (Level.OK, [Level.WARNING])
    assert name.upper() in others[0].remedy
    assert len([*machine.check_settings(settings())]) == 1


@pytest.mark.parametrize(("number", "written"), [(512, "512 bytes"), (2048, "2 KiB"), (2**31, "2 GiB")])
def test_sizes_are_written_for_people(number: int, written: str) -> None:
    assert size(number) == written


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
