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
    "clients/test_qt.py",
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
        if "sleep(" in (source := path.read_text("utf-8"))
        for line, sleep in sleeps(source)
    ]
    assert not found, "\n".join(found)
