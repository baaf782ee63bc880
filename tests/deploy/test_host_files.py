"""The files that operators copy to a host are valid: units of systemd, files of logrotate and sysctl."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.deployment import ROOT

SYSTEMD = ROOT / "deploy/systemd"
UNITS = sorted(path.name for path in SYSTEMD.iterdir())


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All units, with this project's path."""
    directory = tmp_path_factory.mktemp("units")
    for name in UNITS:
        unit = (SYSTEMD / name).read_text("utf-8").replace("/srv/gischat/.venv/bin/python", sys.executable)
        (directory / name.replace("@", "@1")).write_text(unit.replace("/srv/gischat", str(ROOT)))
    return directory


def test_systemd_accepts_the_units(units: Path) -> None:
    files = [str(path) for path in units.iterdir()]
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True)
    faults = [line for line in verified.stderr.splitlines() if "gischat" in line]
    assert (verified.returncode, faults) == (0, [])


@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".service")])
def test_the_units_are_confined(units: Path, name: str) -> None:
    # systemd rates units from 0 (safe) to 10 (unsafe); those that need the network can reach 1.5
    file = units / name.replace("@", "@1")
    rate = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=25", str(file)]
    rated = subprocess.run(rate, capture_output=True, text=True)
    assert rated.returncode == 0, rated.stdout[-400:]


@pytest.mark.parametrize(
    ("unit", "module"),
    [("front@", "gischat"), ("light@", "worker"), ("heavy@", "worker"), ("bridge", "gischat"), (None, "gischat")],
)
def test_the_units_start_existing_commands(unit: str | None, module: str) -> None:
    text = (SYSTEMD / (f"gischat-{unit}.service" if unit else "gischat.service")).read_text("utf-8")
    (command,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    assert command.startswith(f"ExecStart=/srv/gischat/.venv/bin/python -m {module}")
    assert (ROOT / module / "__main__.py").exists()
    for lane in ("light", "heavy"):
        assert (f"--lane {lane}" in command) == (unit == f"{lane}@")


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
