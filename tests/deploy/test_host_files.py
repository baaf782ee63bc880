"""The files that operators copy to a host are valid: units of systemd, files of logrotate and sysctl."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gischat.__main__ import COMMANDS
from gischat.protocol.messages import Lane
from tests.deploy.deployment import ROOT

SYSTEMD = ROOT / "deploy/systemd"


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All units, with this project's path."""
    directory = tmp_path_factory.mktemp("units")
    for path in SYSTEMD.iterdir():
        unit = path.read_text("utf-8").replace("/srv/gischat/.venv/bin/python", sys.executable)
        (directory / path.name.replace("@", "@1")).write_text(unit.replace("/srv/gischat", str(ROOT)))
    return sorted(directory.iterdir())


def test_systemd_accepts_the_units(units: list[Path]) -> None:
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
    faults = [line for line in verified.stderr.splitlines() if "gischat" in line]
    assert (verified.returncode, faults) == (0, [])


def test_the_units_are_confined(units: list[Path]) -> None:
    # systemd rates units from 0 (safe) to 10 (unsafe); those that need the network can reach 1.5
    for unit in units:
        if unit.suffix == ".service":
            rate = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=25", str(unit)]
            rated = subprocess.run(rate, capture_output=True, text=True)
            assert rated.returncode == 0, rated.stdout[-400:]


def test_the_units_start_existing_commands() -> None:
    for path in SYSTEMD.glob("*.service"):
        (start,) = [line for line in path.read_text("utf-8").splitlines() if line.startswith("ExecStart=")]
        module, *arguments = start.removeprefix("ExecStart=/srv/gischat/.venv/bin/python -m ").split()
        kind = path.stem.removeprefix("gischat-").rstrip("@")
        if kind in map(str, Lane):
            assert (module, arguments[:2]) == ("worker", ["--lane", kind])
        else:
            assert module == "gischat"
            assert not arguments or arguments[0] in COMMANDS


def test_logrotate_rotates_a_log_that_is_being_written(tmp_path: Path) -> None:
    # Given a log that a process has open, and logrotate's file for it (its user does not exist here)
    log = tmp_path / "gischat.log"
    rules = (ROOT / "deploy/logrotate/gischat").read_text("utf-8").replace("/var/log/gischat", str(tmp_path))
    configuration = tmp_path / "gischat"
    configuration.write_text(rules.replace("    su gischat gischat\n", ""))
    configuration.chmod(0o644)
    tmp_path.chmod(0o755)
    logrotate = shutil.which("logrotate", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert logrotate, "there is no logrotate: tests/install-tools installs it"
    with log.open("a") as writer:
        print("before", file=writer, flush=True)

        # When the log is rotated
        command = [logrotate, "--force", "--state", str(tmp_path / "state"), str(configuration)]
        rotated = subprocess.run(command, capture_output=True, text=True)
        assert (rotated.returncode, rotated.stderr) == (0, "")

        # Then the file has only later lines, and the rotated file the earlier ones
        print("after", file=writer, flush=True)
    assert log.read_text() == "after\n"
    assert (tmp_path / "gischat.log.1").read_text() == "before\n"


def test_all_sysctls_exist() -> None:
    lines = (ROOT / "deploy/sysctl.conf").read_text("utf-8").splitlines()
    names = [line.partition("=")[0].strip() for line in lines if line and not line.startswith("#")]
    assert names
    assert [name for name in names if not Path("/proc/sys", *name.split(".")).exists()] == []
