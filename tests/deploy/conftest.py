"""Deployments that are stopped after their test."""

import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.deployment import Deployment

Deploy = Callable[..., Deployment]


@pytest.fixture(scope="session")
def short_directory() -> Iterator[Path]:
    """A directory whose path is short enough for sockets, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="gischat-") as path:
        yield Path(path)


@contextmanager
def running(short_directory: Path, name: str, members: Collection[str], **settings: str) -> Iterator[Deployment]:
    """Run a deployment with these processes for a module's tests; yields it when it has started."""
    made = Deployment(Path(tempfile.mkdtemp(prefix=f"{name}-", dir=short_directory)), **settings)
    try:
        made.start()
        made.wait_until(lambda: made.announced() and made.runs(*members))
        yield made
    finally:
        made.clean_up()


@pytest.fixture
def deployment(short_directory: Path) -> Iterator[Deploy]:
    """Creates deployments, not yet started: `deployment(FRONTS="2")`."""
    with ExitStack() as stack:

        def make(name: str = "first", **settings: Any) -> Deployment:
            directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=short_directory))
            made = Deployment(directory, **settings)
            stack.callback(made.clean_up)
            return made

        yield make
