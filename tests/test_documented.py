"""What an operator reads is what the settings do."""

import re
from pathlib import Path
from typing import Any

import pytest
from supervisor.supervisorctl import DefaultControllerPlugin

from bench.report import DOCUMENTS, RECORDS, Record, shown_in
from gischat import __main__ as commanding
from gischat.protocol.types import Lane
from gischat.settings import SettingsError, load, variables
from gischat.supervision.rolling import RollCommand
from gischat.supervision.scaling import ScaleCommand
from tests.support import fork_server
from tests.support.settings import settings

ROOT = Path(__file__).parents[1]
SETTINGS = (ROOT / "docs/settings.md").read_text("utf-8")
EXAMPLE = (ROOT / ".env.example").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text("utf-8")

# Packages whose every file has a line in docs/architecture.md
MAPPED = ["gischat", *sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.glob("gischat/front/**/__init__.py"))]

# Read by what starts the processes, not by the processes themselves
OF_THE_LAUNCHER = {"LOG_FILE"}

# Names for what has another name, too: their defaults are its
ALIASES = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": 6379, "NB_UVICORN_WORKERS": 1}
COMPOSED = "REDIS_URL"  # of those, where it is not given


def default(name: str) -> Any:
    if name.endswith("_WORKERS") and name not in ALIASES:
        return settings().workers_of(Lane(name.removesuffix("_WORKERS").lower()))
    return ALIASES[name] if name in ALIASES else getattr(settings(), name.lower())


def written(value: Any) -> str:
    """A default as an operator would write it; "" for what is off."""
    if value is False:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)


def documented(name: str) -> tuple[list[str], list[str]]:
    """Names and defaults of the settings' row in which a name stands, both without their marks."""
    rows = [line.split("|")[1:3] for line in SETTINGS.splitlines() if line.startswith("|") and f"`{name}`" in line]
    assert rows, f"{name} has no row in docs/settings.md"
    names, defaults = ([re.sub(r"\s|`", "", word) for word in _words(cell)] for cell in rows[0])
    return names, defaults


def _words(cell: str) -> list[str]:
    """What stands in a cell, one by one: `a`, `b,c`, off."""
    return re.findall(r"`[^`]*`|[^\s,`]+", cell)


def in_the_example() -> dict[str, str]:
    """The lines of .env.example that set something, whether they are commented out or not."""
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))


def test_every_setting_is_documented() -> None:
    assert {name for name in variables() if f"`{name}`" not in SETTINGS} == set()


# NB_UVICORN_WORKERS stands in the row of what it is another name for
def test_the_documented_default_of_every_setting_is_right() -> None:
    for name in set(variables()) - {COMPOSED, "NB_UVICORN_WORKERS"}:
        names, defaults = documented(name)
        expected = written(default(name)).replace(" ", "")
        shown = defaults[names.index(name)] if len(names) == len(defaults) else "".join(defaults)
        same_number = _is_number(shown) and _is_number(expected) and float(shown) == float(expected)
        assert shown == (expected or "off") or same_number, (
            f"docs/settings.md says that {name} is {shown}, it is {expected}"
        )


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None


def test_the_example_has_every_setting_and_nothing_else() -> None:
    assert set(in_the_example()) == set(variables()) | OF_THE_LAUNCHER


def test_the_example_has_the_settings_in_the_documented_order() -> None:
    named = [
        name for row in re.findall(r"^\|([^|]*)\|", SETTINGS, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert [name for name in in_the_example() if name in named] == [name for name in named if name != "ENV_FILE"]


@pytest.mark.parametrize("folder", MAPPED)
def test_the_map_of_the_code_has_every_file(folder: str) -> None:
    table = re.search(rf"^`{folder}/`.*\n\n((?:\|.*\n)+)", ARCHITECTURE, re.MULTILINE)
    assert table, f"docs/architecture.md has no table of {folder}/"
    named = re.findall(r"`(\w+\.py)`", table[1])
    assert {*named, "__init__.py"} == {path.name for path in (ROOT / folder).glob("*.py")}


def test_nothing_in_the_example_is_set_before_somebody_sets_it() -> None:
    assert re.findall(r"^[A-Z_]+=.*$", EXAMPLE, re.MULTILINE) == []


def test_what_the_example_shows_is_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an operator who takes all comment signs away
    shown = {name: value for name, value in in_the_example().items() if value}
    monkeypatch.setattr("os.environ", dict(shown))
    # Then nothing changes
    assert load() == settings()


def test_every_setting_that_is_documented_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes a difference what it is, or it is found wrong."""
    for name in variables():
        monkeypatch.setattr("os.environ", {name: "other,other" if name == "CHANNELS" else "\n"})
        assert outcome() != settings(), name


def outcome() -> Any:
    """The settings, or what is wrong with them."""
    try:
        return load()
    except SettingsError as error:
        return error.wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_measurements_in_a_document_are_those_on_record(document: Path) -> None:
    text = document.read_text("utf-8")
    shown = shown_in(text, Record.load(RECORDS / "bench.json"))
    assert shown.count("| ") > 20, "no table is marked"
    assert text == shown, "python -m bench --show docs/bench.json --record writes them"


# Commands, as documents show them in code


def shown(command: str) -> set[str]:
    """The word behind a command, wherever a document or what an operator copies from there has it."""
    texts = [path.read_text("utf-8") for folder in (".", "docs", "deploy") for path in (ROOT / folder).glob("*.md")]
    code = [piece for text in texts for piece in re.findall(r"^```.*?^```|`[^`\n]+`", text, re.MULTILINE | re.DOTALL)]
    begin = r"(?:^|`|[#$] |bin/|-u gischat )"  # of a line of code, or behind a prompt, a directory, sudo
    found = rf"{begin}{command} ([a-z][a-z0-9-]*)"
    words = {word for piece in code for word in re.findall(found, piece, re.MULTILINE)}
    assert words, f"no document shows {command}"
    return words


def test_every_target_of_make_that_is_shown_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert shown("make") <= set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))


def test_every_command_of_gischat_that_is_shown_is_there() -> None:
    assert shown("gischat") <= set(commanding.COMMANDS)


@pytest.mark.processes
def test_every_act_of_moderators_that_is_shown_is_there() -> None:
    told = fork_server.run("-m", "gischat", "admin", "--help").stdout
    assert shown("gischat admin") == set(re.findall(r"^    ([a-z]+)  ", told, re.MULTILINE))


def test_every_command_of_supervisorctl_that_is_shown_is_there() -> None:
    plugins = (DefaultControllerPlugin, ScaleCommand, RollCommand)
    there = {name.removeprefix("do_") for plugin in plugins for name in dir(plugin) if name.startswith("do_")}
    assert shown("gischat ctl") <= there
