"""`make check-qgis QCHAT_PLUGIN=…/qchat`: a real QGIS with the real QChat plugin talks to this server.

It starts a server, an X server and QGIS. QGIS runs `qgis_driver.py`, which uses the plugin's dock, is a second user,
and reports in JSON lines over a pipe. It leaves nothing running.

Needs Debian's qgis, python3-qgis, python3-pyqt5.qtwebsockets, python3-pyqt5.qtmultimedia and xvfb.
Exit status: 0 if everything works, 1 if something does not, 2 if it cannot be tried here.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tests.support.processes import Stack, Valkey

DRIVER = Path(__file__).with_name("qgis_driver.py")
PACKAGES = "qgis python3-qgis python3-pyqt5.qtwebsockets python3-pyqt5.qtmultimedia xvfb"
CHANNELS = ["QGIS", "Field and mobile", "Été à la mer", "R+D", "100%"]
WHOLE_DEADLINE = 420.0  # seconds; it takes about a minute and a half


class CannotTry(Exception):
    """A requirement is missing."""


@contextlib.contextmanager
def display() -> Iterator[str]:
    """Run an X server; yields its name for DISPLAY."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x1000x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as numbers:
            number = numbers.readline().strip()
        if not number:
            raise CannotTry("Xvfb does not start")
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(10)


@contextlib.contextmanager
def running_qgis(directory: Path, screen: str, **task: Any) -> Iterator[IO[str]]:
    """Run QGIS with its own profile, in its own process group so that all of it can be ended; yields its reports."""
    told, pipe = os.pipe()
    for name in ("home", "runtime"):
        (directory / name).mkdir(mode=0o700)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory / "home"),
        "TMPDIR": str(directory),
        "XDG_RUNTIME_DIR": str(directory / "runtime"),
        "DISPLAY": screen,
        "LANG": "C.UTF-8",
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "CHECK_QGIS": json.dumps({**task, "pipe": pipe, "directory": str(directory)}),
    }
    profiles = str(directory / "profiles")
    options = ["--nologo", "--noversioncheck", "--noplugins", "--profiles-path", profiles, "--code", str(DRIVER)]
    with (directory / "qgis.log").open("wb") as log:
        process = subprocess.Popen(
            ["qgis", *options],
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[pipe],
            start_new_session=True,
        )
    os.close(pipe)

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    deadline = threading.Timer(WHOLE_DEADLINE, end)
    deadline.start()
    try:
        with os.fdopen(told) as reports:
            yield reports
    finally:
        deadline.cancel()
        end()
        process.wait(10)


def judge(reports: IO[str], stack: Stack) -> list[str]:
    """Print what the driver reports, to its end; return the faults."""
    wrong: list[str] = []
    for line in reports:
        told = json.loads(line)
        if "failed" in told:
            wrong.append(f"{told['step']}: {told['failed']}")
            print(f"  WRONG  {wrong[-1]}", flush=True)
        elif "saw" in told:
            print(f"  ok     {told['step']}: {told['saw']}", flush=True)
        elif "stop" in told:
            stack.fronts[0].stop()
        elif "end" in told:
            return wrong
    return [*wrong, f"QGIS ended before the check was over, or was not over after {WHOLE_DEADLINE:.0f} s"]


def run(plugin: Path, directory: Path) -> list[str]:
    """Start the server, check, stop it; return the faults."""
    with Valkey(directory) as valkey:
        stack = Stack(directory, valkey.url, channels=",".join(CHANNELS), rules="Be kind.")
        stack.start()
        try:
            task = {"plugin": str(plugin), "url": stack.fronts[0].url, "channels": CHANNELS}
            with display() as screen, running_qgis(directory, screen, **task) as reports:
                wrong = judge(reports, stack)
        except BaseException:
            stack.kill()
            raise
        try:
            stack.stop()
            stack.assert_quiet_logs()
        except AssertionError as error:
            wrong.append(str(error))
        return wrong


def plugin_directory(given: str | None) -> Path:
    """The plugin's directory, which must contain its dock widget."""
    if not given:
        raise CannotTry("say where the QChat plugin is: make check-qgis QCHAT_PLUGIN=~/…/plugins/qchat")
    directory = Path(given).expanduser().resolve()
    if not (directory / "metadata.txt").is_file():
        raise CannotTry(f"{directory} has no metadata.txt: that is no QGIS plugin")
    return directory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plugin", nargs="?", help="the plugin's directory")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as by Ctrl-C: stops what was started
    try:
        plugin = plugin_directory(parser.parse_args().plugin)
        for program in ("qgis", "Xvfb"):
            if not shutil.which(program):
                raise CannotTry(f"there is no {program} here: apt-get install {PACKAGES}")
        with tempfile.TemporaryDirectory(prefix="gischat-qgis-") as name:
            directory = Path(name)
            wrong = run(plugin, directory)
            if wrong:
                tail = (directory / "qgis.log").read_text(errors="replace")[-2000:]
                print(f"QGIS' own output ended with:\n{tail}", file=sys.stderr)
    except CannotTry as reason:
        print(f"gischat: {reason}", file=sys.stderr)
        return 2
    for problem in wrong:
        print(f"gischat: QGIS: {problem.splitlines()[0]}", file=sys.stderr)
    print(f"gischat: {len(wrong)} wrong" if wrong else "gischat: all is as QGIS needs it")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
