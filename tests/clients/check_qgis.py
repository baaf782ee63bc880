"""`make check-qgis QCHAT_PLUGIN=…/qchat`: a real QGIS with the real QChat plugin talks to this server.

It starts a server and QGIS, which needs no display, and is a second user with a plain websocket. QGIS runs
`qgis_driver.py`, which uses the plugin's dock; this side starts, watches and judges. It leaves nothing running.

Needs Debian's qgis, python3-qgis, python3-pyqt5.qtwebsockets and python3-pyqt5.qtmultimedia.
Exit status: 0 if everything works, 1 if something does not, 2 if it cannot be tried here.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.client import Client
from tests.support.processes import Stack, Valkey

DRIVER = Path(__file__).with_name("qgis_driver.py")
PACKAGES = "qgis python3-qgis python3-pyqt5.qtwebsockets python3-pyqt5.qtmultimedia"
CHANNELS = ["QGIS", "Field and mobile", "Été à la mer", "R+D", "100%"]
NICKNAME = "qgis-user"
WHOLE_DEADLINE = 420.0  # seconds; it takes about a minute and a half


class CannotTry(Exception):
    """A requirement is missing."""


class Outside:
    """Does what the driver asks for: it is the second user, and stops the server."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._client: Client | None = None

    async def answer(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Execute a request of the driver; return the result."""
        return await getattr(self, verb)(**arguments)

    async def join(self, channel: str, nickname: str) -> None:
        self._client = await Client.connect(self._stack.fronts[0].url, channel)
        await self._client.register(nickname)

    async def leave(self) -> None:
        if self._client:
            await self._client.leave()
        self._client = None

    async def send(self, message: dict[str, Any], echo: bool = True) -> Any:
        assert self._client
        await self._client.send(**message)
        return await self._client.until(type=message["type"], author=message["author"]) if echo else None

    async def expect(self, conditions: dict[str, Any]) -> Any:
        assert self._client
        return await self._client.until(**conditions)

    async def stop(self) -> None:
        await self._stack.fronts[0].stopped()
        if self._client:
            await self._client.closed()
        self._client = None


@contextlib.contextmanager
def running_qgis(directory: Path, task: dict[str, Any], pipes: list[int]) -> Iterator[None]:
    """Run QGIS with its own profile, in its own process group so that all of it can be ended."""
    for name in ("home", "runtime"):
        (directory / name).mkdir(mode=0o700)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory / "home"),
        "TMPDIR": str(directory),
        "XDG_RUNTIME_DIR": str(directory / "runtime"),
        "QT_QPA_PLATFORM": "offscreen",
        "DISPLAY": "none, but QGIS looks whether there is one",
        "LANG": "C.UTF-8",
        "CHECK_QGIS": json.dumps(task),
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
            pass_fds=pipes,
            start_new_session=True,
        )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


async def talk(outside: Outside, reader: asyncio.StreamReader, answers: int) -> list[str]:
    """Serve the driver until its end, and print what it reports; return the faults."""
    wrong: list[str] = []
    ended = False
    while line := await reader.readline():
        told = json.loads(line)
        if "ask" in told:
            os.write(answers, json.dumps(await answered(outside, told)).encode() + b"\n")
        elif "failed" in told:
            wrong.append(f"{told['step']}: {told['failed']}")
            print(f"  WRONG  {told['step']}: {told['failed']}", flush=True)
        elif "step" in told:
            print(f"  ok     {told['step']}: {told['saw']}", flush=True)
        ended |= "end" in told
    if not ended:
        wrong.append("QGIS ended before the check was over")
    return wrong


async def answered(outside: Outside, told: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"done": await outside.answer(told["ask"], told["arguments"])}
    except Exception as error:
        return {"error": f"{told['ask']} {told['arguments']}: {error}"}


async def check(plugin: Path, directory: Path, stack: Stack) -> list[str]:
    """Run QGIS against the stack; return the faults."""
    to_driver, answers = os.pipe()
    told, from_driver = os.pipe()
    task = {
        "read": to_driver,
        "write": from_driver,
        "plugin": str(plugin),
        "url": stack.fronts[0].url,
        "channels": CHANNELS,
        "nickname": NICKNAME,
        "directory": str(directory),
    }
    outside = Outside(stack)
    with running_qgis(directory, task, [to_driver, from_driver]):
        os.close(to_driver)
        os.close(from_driver)
        reader = asyncio.StreamReader(limit=1 << 26)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(told, "rb", buffering=0)
        )
        try:
            async with asyncio.timeout(WHOLE_DEADLINE):
                return await talk(outside, reader, answers)
        except TimeoutError:
            return [f"not over after {WHOLE_DEADLINE:.0f} s"]
        finally:
            transport.close()
            os.close(answers)
            await outside.leave()


def run(plugin: Path, directory: Path) -> list[str]:
    """Start the server, check, stop it; return the faults."""
    with Valkey(directory) as valkey:
        channels = ",".join(CHANNELS)
        stack = Stack(directory, valkey.url, channels=channels, rules="Be kind.")
        stack.start()
        try:
            wrong = asyncio.run(check(plugin, directory, stack))
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
        if not shutil.which("qgis"):
            raise CannotTry(f"there is no QGIS here: apt-get install {PACKAGES}")
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
