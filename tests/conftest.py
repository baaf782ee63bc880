"""Fixtures of all tests that need real processes, and what a failing test shows of their logs."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.processes import Process, Stack, Valkey

StackFactory = Callable[..., Stack]

_processes = pytest.StashKey[list[Process]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make test-long` gives proofs their time."""
    words = "repeat each proof with other random choices until so many seconds are over"
    parser.addoption("--long", type=float, default=0.0, metavar="SECONDS", help=words)


def pytest_configure(config: pytest.Config) -> None:
    """Keep a list of the processes that tests start."""
    config.stash[_processes] = []


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let each process' log begin anew with each test."""
    for process in item.config.stash[_processes]:
        process.mark_log()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failing test what its processes logged meanwhile."""
    report = yield
    if report.failed:
        for process in item.config.stash[_processes]:
            if log := process.new_log():
                report.sections.append((f"log of {process.name} (pid {process.pid})", log[-5000:]))
    return report


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A real, empty Valkey that all tests share; stacks in it are told apart by their INSTANCE_ID."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def open_stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: Valkey
) -> Callable[..., Stack]:
    """Makes stacks, not yet started: `with open_stack(fronts=2, max_message_length=10) as stack`."""
    known = request.config.stash[_processes]

    def make(*, redis_url: str | None = valkey.url, **options: Any) -> Stack:
        stack = Stack(tmp_path_factory.mktemp("stack"), redis_url, **options)
        known.extend(stack.processes)
        return stack

    return make


@pytest.fixture
def start_stack(open_stack: StackFactory) -> Iterator[StackFactory]:
    """Starts stacks that end with the test.

    The test fails when they do not end as they should, or have logged what they must not.
    """
    with ExitStack() as stacks:

        def start(**options: Any) -> Stack:
            stack = open_stack(**options)
            stacks.callback(stack.assert_quiet_logs)
            return stacks.enter_context(stack)

        yield start
