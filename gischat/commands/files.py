"""`gischat files DIRECTORY`: writes operators' files: systemd units, nginx, alert rules, dashboards, a Redis ACL."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from gischat.commands import CommandError
from gischat.supervision import files
from gischat.timings import Timings

# Files of `deploy/` that only a clone can use; setup.py leaves them out of the package, too.
OF_A_CLONE = ("install", "release", "page.py", "build_backend.py", "docker", "deb", "README.md", "__pycache__")

# The interpreter in the units, as in docs/operating.md; replaced by this one.
DOCUMENTED_PYTHON = "/srv/gischat/.venv/bin/python"


def main(arguments: Sequence[str], _: Timings) -> int:
    parser = argparse.ArgumentParser(
        prog="gischat files",
        description="Writes the files that come with gischat into a directory: .env.example, systemd units (for this "
        "interpreter), nginx and logrotate configuration, a Redis ACL, Prometheus rules, a Grafana dashboard.",
    )
    parser.add_argument("directory", type=Path, help="destination; must be empty or not exist")
    directory: Path = parser.parse_args(arguments).directory
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CommandError(f"{directory} is not an empty directory")
    try:
        shutil.copytree(files.path("deploy"), directory, ignore=shutil.ignore_patterns(*OF_A_CLONE), dirs_exist_ok=True)
        shutil.copy(files.path(".env.example"), directory)
        for unit in (directory / "systemd").iterdir():
            unit.write_text(unit.read_text("utf-8").replace(DOCUMENTED_PYTHON, sys.executable), "utf-8")
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
    print(f"gischat: written to {directory}")
    return 0
