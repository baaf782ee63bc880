"""The command line: what `gischat` does with its arguments. What it does without any, tests/wire shows."""

import importlib
import pkgutil
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import gischat.__main__
import gischat.commands
from gischat import __version__
from gischat.__main__ import COMMANDS
from tests.support import fork_server

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.processes

# supervisorctl's own, another program's, or without arguments
WITHOUT_HELP = ("front", "ctl", "scale", "roll", "exec", "ready")


gischat_command = partial(fork_server.run, "-m", "gischat")


def test_the_version_is_told() -> None:
    told = gischat_command("--version")
    assert (told.returncode, told.stdout) == (0, f"gischat {__version__}\n")


def test_the_help_has_a_line_for_every_command() -> None:
    told = gischat_command("--help")
    assert told.returncode == 0
    for name, command in COMMANDS.items():
        assert re.search(rf"^ +{name} +{re.escape(command.help)}$", told.stdout, re.MULTILINE)


def test_every_command_is_a_module_and_every_module_a_command() -> None:
    modules = {f"gischat.commands.{module.name}" for module in pkgutil.iter_modules(gischat.commands.__path__)}
    named = {command.module for command in COMMANDS.values()}
    programs = {"gischat.bridges.__main__", "worker.__main__", "worker.dead_letters"}
    assert modules <= named <= modules | programs
    assert all(callable(importlib.import_module(module).main) for module in named)


@pytest.mark.parametrize("arguments", [["dance"], ["--json"]], ids=" ".join)
def test_who_asks_for_what_there_is_not_is_told_what_there_is(arguments: list[str]) -> None:
    told = gischat_command(*arguments)
    assert told.returncode == 2
    assert "COMMAND" in told.stderr


@pytest.mark.parametrize(
    "command",
    [[], *([name] for name in COMMANDS if name not in WITHOUT_HELP)],
    ids=lambda command: "".join(command) or "-",
)
def test_a_command_has_a_help_of_its_own(command: list[str]) -> None:
    told = gischat_command(*command, "--help")
    assert told.returncode == 0
    assert " ".join(["gischat", *command]) in told.stdout


def test_a_front_loads_nothing_of_the_commands() -> None:
    script = "import sys, gischat.__main__, gischat.commands.front; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={}, capture_output=True, text=True)
    loaded = set(ran.stdout.split())
    assert "gischat.front.app" in loaded
    others = {command.module for command in COMMANDS.values()} - {"gischat.commands.front"}
    assert not loaded & {"argparse", "supervisor", *others}
