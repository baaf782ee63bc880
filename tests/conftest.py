"""Fixtures of all tests that need real processes, what a failing test shows of their logs, and who may start them."""

import asyncio
import itertools
import signal
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir
from tornado.ioloop import IOLoop

from tests.support import fork_server
from tests.support.admin import Admin
from tests.support.client import Client
from tests.support.processes import Process, Stack, Valkey
from tests.support.rest import Rest

TESTS = Path(__file__).parent

StackFactory = Callable[..., Stack]
Join = Callable[..., Awaitable[Client]]

# How Hypothesis tries a property. On a busy machine anything may be slow.
PROPERTIES = settings(deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("quick", PROPERTIES, derandomize=True, max_examples=25)
settings.register_profile("long", PROPERTIES, max_examples=200)

_processes = pytest.StashKey[list[Process]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make test-long` gives proofs their time."""
    words = "repeat each proof with other random choices until so many seconds are over"
    parser.addoption("--long", type=float, default=0.0, metavar="SECONDS", help=words)


def pytest_configure(config: pytest.Config) -> None:
    """Choose how properties are tried; keep a list of the processes that tests start, and see that no others do."""
    set_hypothesis_home_dir(config.rootpath / ".cache/hypothesis")
    settings.load_profile("long" if config.getoption("--long") else "quick")
    config.stash[_processes] = []
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by `make test &`; tests interrupt processes
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.addaudithook(_guard)


def pytest_unconfigure() -> None:
    """End the process that all others are forked from."""
    fork_server.stop()


# `make test-unit` is for whoever is typing: it runs what takes no time, and no processes but a Valkey, which all share.

UNIT_TESTS = [TESTS / "gischat", TESTS / "worker", *TESTS.glob("test_*.py")]
STARTING_TESTS = [TESTS / "worker" / f"test_{what}.py" for what in ("heavy", "sandbox")]  # a child for each
SLOW_TESTS = [
    *(TESTS / "worker" / f"test_{what}.py" for what in ("image_costs", "images", "rasters")),  # hundreds of pictures
    TESTS / "gischat/front/transport/test_conformance.py",
]
STARTS = {"subprocess.Popen", "os.fork", "os.posix_spawn", fork_server.STARTS}  # audit events

_may_start = True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts processes: all that is no unit test, or has a stack or a server of its own. Others do it."""
    of_unit, starting, slow = {*map(str, UNIT_TESTS)}, {*map(str, STARTING_TESTS)}, {*map(str, SLOW_TESTS)}
    for path, of_file in itertools.groupby(items, key=lambda item: str(item.path)):
        is_unit = path not in starting and (path in of_unit or any(path.startswith(f"{one}/") for one in of_unit))
        for item in of_file:
            if not is_unit or {"open_stack", "server"} & {*getattr(item, "fixturenames", ())}:
                item.add_marker("processes")
            if path in slow:
                item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let nothing start processes that does not say so."""
    with _starting(item.get_closest_marker("processes") is not None):
        return (yield)


@contextmanager
def _starting(is_allowed: bool) -> Iterator[None]:
    global _may_start
    before, _may_start = _may_start, is_allowed
    try:
        yield
    finally:
        _may_start = before


def _guard(event: str, _: object) -> None:
    if not _may_start and event in STARTS:
        raise AssertionError("a test that starts a process has the mark `processes`, so that `make test-unit` has not")


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


@pytest.fixture
def admin(io_loop: IOLoop, stack: Stack) -> Iterator[Admin]:
    """A moderator at the first front."""
    client = Admin(stack.fronts[0].url)
    yield client
    client.close()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A real, empty Valkey that all tests share; stacks in it are told apart by their INSTANCE_ID."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    with _starting(True):
        server.start()
    yield server
    server.kill()


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


# What a test does with the `stack` of its module or package


@pytest.fixture
def channel(fresh_channels: Iterator[str]) -> str:
    """A channel that no other test uses."""
    return next(fresh_channels)


@pytest.fixture
def join(io_loop: IOLoop, stack: Stack) -> Iterator[Join]:
    """Joins clients, `await join(channel, front=1, nickname="jane")`; they leave when the test ends.

    A joined client receives all later messages. Only tests of the first frames need `settled=True`, which waits for the
    history and the count: counts are throttled, so that takes time.
    """
    clients: list[Client] = []
    registered: defaultdict[str, set[str]] = defaultdict(set)

    async def join(
        channel: str, *, front: int = 0, nickname: str | None = None, settled: bool = False, **options: Any
    ) -> Client:
        client = await Client.connect(stack.fronts[front].url, channel, **options)
        clients.append(client)
        client.there_before = frozenset(registered[channel])
        if settled:
            await client.until(type="nb_users")
        if nickname is not None:
            await client.register(nickname)
            registered[channel].add(nickname)
        return client

    async def leave() -> None:
        await asyncio.gather(*(client.leave() for client in clients))

    yield join
    io_loop.run_sync(leave)


@pytest.fixture
def rest(io_loop: IOLoop, stack: Stack) -> Iterator[Rest]:
    """HTTP requests to the first front."""
    client = Rest(stack.fronts[0].url)
    yield client
    client.close()


@pytest.fixture
def rests(io_loop: IOLoop, stack: Stack) -> Iterator[list[Rest]]:
    """HTTP requests to each front."""
    clients = [Rest(front.url) for front in stack.fronts]
    yield clients
    for client in clients:
        client.close()
