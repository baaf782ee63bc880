"""Who may import whom: fronts and workers share the broker, and know nothing of each other.

Looked at twice: by reading the sources, which shows every import however it is hidden in a function, and by starting
each process in a fresh interpreter, which shows what comes along.
"""

import ast
import functools
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from gischat.broker.scripts import Scripts
from tests.support.syntax import parsed
from worker.__main__ import PRELOAD

ROOT = Path(__file__).parents[1]

# Who must not import what, itself or by the way of other modules of ours
FORBIDDEN = {
    "gischat": ("worker", "pyproj", "tests"),  # PROJ is the workers'
    "worker": ("gischat.front", "gischat.protocol.parsing", "gischat.supervision", "marshmallow", "tests"),
    "gischat.front": ("gischat.supervision",),
    "gischat.broker": ("gischat.front", "worker", "gischat.supervision", "tornado", "marshmallow"),
    "gischat.protocol.messages": ("gischat.front", "gischat.broker", "tornado", "marshmallow", "asyncio"),
    "gischat.protocol.parsing": ("gischat.front", "gischat.broker", "tornado", "asyncio"),
    "gischat.protocol": ("gischat.front", "gischat.broker", "tornado", "asyncio"),
    "gischat.client": ("gischat.front", "gischat.broker", "gischat.settings", "gischat.observability", "marshmallow"),
    "gischat.settings": ("gischat.front", "gischat.broker", "tornado", "marshmallow", "asyncio"),
    "gischat.front.transport": ("gischat.protocol.messages", "gischat.broker"),
    "gischat.front.transport.frames": ("tornado", "asyncio"),
    "worker.sandbox_child": ("worker", "gischat", "asyncio", "tornado"),
    "worker.handlers": ("asyncio", "tornado"),
    "worker.images": ("asyncio", "tornado", "gischat.broker"),
    "worker.geojson": ("asyncio", "tornado", "gischat.broker"),
    "worker.places": ("asyncio", "tornado", "gischat.broker"),
    "worker.geometries": ("asyncio", "tornado", "gischat.broker"),
    "worker.footprints": ("asyncio", "tornado", "gischat", "pyproj"),
    "worker.effects": ("gischat", "asyncio"),
}

# The front's floors, from the top, and what each imports of the others: only what stands below it
FLOORS = {
    "app": {"handlers", "services", "auth", "transport"},
    "descriptions": {"handlers", "close_status", "auth"},  # loaded by name, when they are first asked for
    "handlers": {"services", "connection", "channel", "close_status", "auth", "limits", "transport"},
    "services": {"degradations", "gauges", "publisher", "moderation", "subscription", "connection", "channel"}
    | {"close_status", "dispatch", "auth", "limits", "transport"},
    "degradations": {"subscription"},
    "gauges": {"channel"},
    "publisher": {"connection", "dispatch"},
    "subscription": {"moderation", "channel", "dispatch", "transport"},
    "moderation": {"channel", "close_status", "dispatch", "auth"},
    "connection": {"channel", "close_status", "dispatch", "limits", "transport"},
    "channel": {"close_status", "dispatch", "auth", "limits", "transport"},
    "dispatch": {"limits"},
    "close_status": {"limits"},
    "transport": {"limits"},
    "limits": {"auth"},
    "auth": set(),
}


class Import(NamedTuple):
    """One import statement's one module."""

    importer: str
    line: int
    imported: str

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.imported}"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_of(path): path for package in ("gischat", "worker") for path in (ROOT / package).rglob("*.py")}


@functools.cache
def nodes_of(module: str) -> list[ast.AST]:
    return [*ast.walk(parsed(SOURCES[module].read_text("utf-8")))]


@functools.cache
def imports_of(module: str) -> list[Import]:
    """Every import, relative ones made absolute; `from a import b` counts as of `a.b`, which may be a module."""
    found = []
    for node in nodes_of(module):
        if isinstance(node, ast.Import):
            found += [Import(module, node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")
            up = node.level - (SOURCES[module].name == "__init__.py")
            parents = [*(base[: len(base) - up] if node.level else []), *filter(None, [node.module])]
            found += [Import(module, node.lineno, ".".join([*parents, name.name])) for name in node.names]
    return found


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def modules_within(package: str) -> list[str]:
    return [module for module in SOURCES if is_within(module, package)]


def all_imports(module: str) -> list[Import]:
    """What a module imports, itself and by the way of other modules of ours."""
    found: list[Import] = []
    known, unread = {module}, [module]
    while unread:
        for one in imports_of(unread.pop()):
            found.append(one)
            for ours in (one.imported, one.imported.rpartition(".")[0]):
                if ours in SOURCES and ours not in known:
                    known.add(ours)
                    unread.append(ours)
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_source_imports_what_it_must_not_know(package: str) -> None:
    modules = modules_within(package)
    assert modules, f"there is no {package} any more"
    wrong = {
        str(one)
        for module in modules
        for one in all_imports(module)
        for forbidden in FORBIDDEN[package]
        if is_within(one.imported, forbidden)
    }
    assert not wrong, f"{package} must not know of {', '.join(FORBIDDEN[package])}:\n" + "\n".join(sorted(wrong))


def floor_of(module: str) -> str:
    """The file or folder of the front in which a module is; "" if it is in none."""
    return module.partition("gischat.front.")[2].partition(".")[0]


def test_every_file_of_the_front_is_on_a_floor() -> None:
    assert {floor_of(module) for module in modules_within("gischat.front")} - {""} == set(FLOORS)


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_of_the_front_imports_those_below_it_alone(floor: str) -> None:
    modules = modules_within(f"gischat.front.{floor}")
    found = {floor_of(one.imported): str(one) for module in modules for one in imports_of(module)}
    assert found.keys() & FLOORS.keys() - {floor} == FLOORS[floor], "\n".join(sorted(found.values()))
    below = list(FLOORS)[list(FLOORS).index(floor) + 1 :]
    assert FLOORS[floor] <= set(below)


def test_each_script_is_run_by_one_function_of_the_broker() -> None:
    """Its arguments have names, and its results types; nobody else hands it a list."""
    run = [
        (node.attr, module)
        for module in SOURCES
        for node in nodes_of(module)
        if isinstance(node, ast.Attribute) and node.attr in Scripts.__annotations__
        if ast.unparse(node.value).rpartition(".")[2] in ("scripts", "_scripts")
    ]
    assert sorted(name for name, _ in run) == sorted(Scripts.__annotations__)
    assert [module for _, module in run if not is_within(module, "gischat.broker")] == []


@pytest.mark.parametrize(
    "module",
    [
        *("worker.handlers", "worker.images", "worker.geojson", "worker.places", "worker.geometries"),
        *("worker.footprints", "worker.antimeridian", "worker.crs", "worker.effects", "worker.fairness"),
    ],
)
def test_what_is_pure_has_no_clock_and_no_chance_of_its_own(module: str) -> None:
    impure = ("time", "datetime", "random", "secrets", "uuid", "os", "socket", "threading")
    wrong = [str(one) for one in imports_of(module) if one.imported.partition(".")[0] in impure]
    assert not wrong, "\n".join(wrong)


# The sandbox hands the environment on to its child; NOTIFY_SOCKET is no setting, but between a process and its parent.
# What starts the processes makes their environment.
OF_THE_ENVIRONMENT = (
    *("worker.sandbox", "gischat.environment", "gischat.observability.systemd", "gischat.commands.execute"),
)
MAKES_THE_ENVIRONMENT = "gischat.supervision"


def test_nobody_reads_the_environment_but_the_settings() -> None:
    wrong = [
        f"{module}, line {node.lineno}, reads the environment"
        for module in SOURCES
        for node in nodes_of(module)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
        if module not in OF_THE_ENVIRONMENT and not is_within(module, MAKES_THE_ENVIRONMENT)
    ]
    assert not wrong, "\n".join(wrong)


def loaded_by(script: str) -> list[str]:
    """What a script prints in a fresh interpreter: the modules that it has loaded."""
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return ran.stdout.split()


# What starts by the hundred, and what none of it has loaded when it is ready: each would take as long as a tenth of the
# start, and megabytes. What asks for it (a URL of a cluster, a scrape, a page) loads it then.
STARTS = {
    "front": "import gischat.__main__, gischat.without_tls, gischat.commands.front",
    "worker": "from worker.__main__ import _parsed; _parsed(['--lane', 'light']); import worker.__main__",
    "sandbox's child": "import worker.sandbox_child, " + ", ".join(PRELOAD),
    "supervisord's child": "import sys; sys.path[0] = 'gischat/supervision'; import exec_child",
    "supervisord": "import gischat.supervision.rpc, gischat.supervision.sighup, "
    "gischat.supervision.supervisord_log, gischat.supervision.rolling",
}
HEAVY_MODULES = (
    *("pyproj", "sqlite3", "opentelemetry", "redis", "valkey", "sentry_sdk", "prometheus_client", "apispec"),
    *("swagger_ui", "environs", "dotenv", "pydantic", "gischat.broker.cluster", "gischat.front.descriptions"),
    *("gischat.front.handlers.admin", "gischat.diagnostics", "gischat.commands.admin"),
    *("http.server", "urllib.request", "importlib.metadata", "importlib.resources"),
)
OF_THE_WEB = ("tornado", "http", "email")
OF_THE_LOOP = ("asyncio", "ssl", "hiredis", "uvloop")
OF_TLS = ("_ssl", "_hashlib")
OF_JOBS = ("worker.images", "worker.geojson", "worker.dead_letters")
PRINT_LOADED = "; import sys; print('\\n'.join(name for name, module in sys.modules.items() if module))"
NEVER_LOADED = {
    "front": (*HEAVY_MODULES, *OF_TLS, "_curses", "PIL", "gischat.geopackage"),
    "worker": (*HEAVY_MODULES, *OF_TLS, *OF_THE_WEB, "shutil", "marshmallow", "PIL", *OF_JOBS),
    "sandbox's child": (*HEAVY_MODULES, *OF_THE_WEB, *OF_THE_LOOP, "marshmallow", "pillow_heif"),
    "supervisord's child": (*OF_THE_WEB, *OF_THE_LOOP, "gischat", "json", "logging", "subprocess"),
    "supervisord": ("redis", "marshmallow", "tornado", "asyncio", "prometheus_client", "sentry_sdk", "msgspec"),
}


@pytest.mark.processes
@pytest.mark.parametrize("process", STARTS)
def test_a_start_loads_nothing_that_it_can_do_without(process: str) -> None:
    loaded = loaded_by(STARTS[process] + PRINT_LOADED)
    assert STARTS[process].split()[-1] in loaded
    unneeded = {name for name in loaded for package in NEVER_LOADED[process] if is_within(name, package)}
    assert not unneeded, f"at the start of a {process}: {', '.join(sorted(unneeded))}"


@pytest.mark.processes
def test_a_front_starts_without_the_pattern_that_takes_long_and_has_it_when_asked() -> None:
    loaded = loaded_by(
        f"""
{STARTS["front"]}
from marshmallow import validate
print(type(validate.Email.DOMAIN_REGEX).__name__)
print(validate.Email()("anna@bücher.example"))
"""
    )
    assert loaded == ["LatePattern", "anna@bücher.example"]
