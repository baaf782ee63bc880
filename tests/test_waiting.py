"""No test waits for time: a machine may be slow, and busy."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.syntax import parsed
from tests.support.waiting import LOOK

TESTS = Path(__file__).parent
VIRTUAL = TESTS / "simulation"  # its time is virtual
# What sleeps on purpose: it makes load or faults, is slow as people and networks are, or is how tests wait.
SLEEPERS = {
    "attacks/conftest.py",
    "clients/qgis_driver.py",
    "clients/qt_process.py",
    "clients/test_qchat.py",
    "faults/scene.py",
    "faults/test_fronts.py",
    "support/peers.py",
    "support/virtual_time.py",
    "support/waiting.py",
    "worker/test_sandbox.py",
}


def sleeps(source: str) -> Iterator[tuple[int, str]]:
    """Each sleep that is longer than the time between two looks, or says not how long it is, with its line."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sleep":
            (seconds,) = node.args
            is_look = isinstance(seconds, ast.Name) and seconds.id in ("LOOK", "TURN")
            is_short = isinstance(seconds, ast.Constant) and seconds.value <= LOOK
            if not (is_look or is_short):
                yield node.lineno, ast.unparse(node)


def test_no_test_sleeps_for_longer_than_between_two_looks() -> None:
    found = [
        f"{path.relative_to(TESTS)}, line {line}: {sleep}"
        for path in TESTS.rglob("*.py")
        if path.relative_to(TESTS).as_posix() not in SLEEPERS and not path.is_relative_to(VIRTUAL)
        for line, sleep in sleeps(path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


def test_sleeps_are_found() -> None:
    source = "await asyncio.sleep(0.5)\ntime.sleep(LONG)\nawait asyncio.sleep(0.01)\nawait asyncio.sleep(LOOK)"
    assert sorted(sleeps(source)) == [(1, "asyncio.sleep(0.5)"), (2, "time.sleep(LONG)")]
