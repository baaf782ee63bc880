"""The package: built, installed into an empty environment, and run outside the clone."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import tornado

from tests.deploy.deployment import HOST, ROOT, Deployment
from tests.support.client import Client

BUILD_SECONDS = 300
VERSION = "9.8.7"

pytestmark = pytest.mark.usefixtures("io_loop")

SKIPPED = {"__pycache__", "built"}  # chunks of the map are named by the path of their bundling


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command, which must succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["DENO_DIR"] = str(ROOT / ".cache/deno")  # the map's dependencies have been fetched
    ran = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def copy_clone(target: Path) -> Path:
    """Copy the files of this project that git has, or would add."""
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT).split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


class Repository:
    """A clone of another version, from which releases are made."""

    def __init__(self, directory: Path) -> None:
        self.directory = copy_clone(directory)
        (directory / "gischat/__init__.py").write_text(f'__version__ = "{VERSION}"\n')
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Begin")

    def git(self, *arguments: str) -> str:
        me = ("-c", "user.name=jane", "-c", "user.email=jane@example.org")
        return run("git", *me, *arguments, cwd=self.directory).strip()

    def release(self) -> "subprocess.CompletedProcess[str]":
        # The tag needs an author
        environment = os.environ | {"PYTHON": sys.executable, "EMAIL": "jane@example.org", "GIT_COMMITTER_NAME": "jane"}
        environment["DENO_DIR"] = str(ROOT / ".cache/deno")  # the map's dependencies have been fetched
        return subprocess.run(
            self.directory / "deploy/release", env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS
        )


class Released(NamedTuple):
    """The directory of a released version, and why it was not released before and again."""

    directory: Path
    before: list[str]
    again: str


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    repository = Repository(tmp_path_factory.mktemp("clone"))
    before = [repository.release().stderr]
    changelog, heading = repository.directory / "CHANGELOG.md", f"## {VERSION} - 2026-11-28"
    changelog.write_text(changelog.read_text("utf-8").replace("## Unreleased", heading, 1), "utf-8")
    before.append(repository.release().stderr)
    repository.git("commit", "--quiet", "--all", "--message", "Release")
    made = repository.release()
    assert made.returncode == 0, made.stdout + made.stderr
    assert repository.git("describe") == f"v{VERSION}"
    return Released(repository.directory, before, repository.release().stderr)


@pytest.fixture(scope="module")
def wheel(released: Released) -> Path:
    """The wheel, built from the source distribution to show that this is complete."""
    (built,) = released.directory.glob("dist/*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel; its dependencies are those of the tests' environment."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=False)
    run(
        sys.executable, "-m", "pip", "--python", directory, "install", "--no-deps", "--no-compile", wheel, cwd=directory
    )
    (packages,) = directory.glob("lib/python*/site-packages")
    # After its own, so that the wheel's gischat precedes the clone's.
    (packages / "needed.pth").write_text(f"{Path(tornado.__file__).parents[1]}\n")
    return directory / "bin"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Another project, with a package that has the name of one of ours."""
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker/__init__.py").write_text("raise SystemExit('this is not the worker that was meant')\n")
    return tmp_path


def test_a_version_is_released_once_it_is_named_and_committed(released: Released) -> None:
    unnamed, uncommitted = released.before
    assert f"CHANGELOG.md begins with '## Unreleased' instead of '## {VERSION} - " in unnamed
    assert "not committed" in uncommitted
    assert f"v{VERSION} exists" in released.again
    packages = {f"gischat-{VERSION}.tar.gz", f"gischat-{VERSION}-py3-none-any.whl"}
    assert {path.name for path in released.directory.glob("dist/*")} == packages


def test_the_wheel_has_all_files_of_the_clone(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = [path.relative_to(ROOT) for path in (ROOT / "deploy").rglob("*") if path.suffix in (".conf", ".service")]
    assert len(shipped) > 5
    assert {f"gischat/files/{path}" for path in [*shipped, Path("supervisord.conf")]} <= names
    for package in ("gischat", "worker"):
        ours = [path for path in (ROOT / package).rglob("*") if path.is_file() and not SKIPPED & set(path.parts)]
        assert {str(path.relative_to(ROOT)) for path in ours} <= names
    assert "gischat/web/built/map.js" in names
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]


async def test_it_serves_outside_a_clone_and_stops(installed: Path, short_directory: Path, directory: Path) -> None:
    # Given an environment without the clone
    chat = Deployment(
        directory,
        state_dir=short_directory / "installed",
        program=(installed / "gischat",),
        cwd=directory,
        HEAVY_WORKERS="0",
    )
    try:
        # When it is started as the README says
        chat.start()
        await asyncio.to_thread(chat.wait_until, chat.announced)

        # Then clients can chat, and it stops
        client = await Client.connect(f"http://{HOST}:{chat.port}", "QGIS")
        await client.say("hello")
        await client.until(type="text", text="hello")
        await client.leave()
        assert (await asyncio.to_thread(chat.gischat, "status")).returncode == 0
        chat.signal(signal.SIGTERM)
        assert await asyncio.to_thread(chat.exit_status) == 0
    finally:
        chat.clean_up()


def test_it_writes_the_files_that_operators_copy(installed: Path, tmp_path: Path) -> None:
    run(installed / "gischat", "files", tmp_path / "files", cwd=tmp_path)
    unit = (tmp_path / "files/systemd/gischat.service").read_text()
    assert f"ExecStart={installed}/python -m gischat up" in unit
    for name in (".env.example", "nginx/site.conf", "prometheus/alerts.yml", "redis/users.acl"):
        assert (tmp_path / "files" / name).is_file()
    # A clone writes them, too, and overwrites nothing
    chat = Deployment(tmp_path)
    assert chat.gischat("files", str(tmp_path / "new")).returncode == 0
    assert not list((tmp_path / "new").glob("*.py")), "what makes the package is of no use to an operator"
    refused = chat.gischat("files", str(tmp_path / "new"))
    assert (refused.returncode, refused.stderr) == (1, f"gischat: {tmp_path}/new is not an empty directory\n")
