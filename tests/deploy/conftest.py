"""Deployments that end with their test."""

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
    """A directory whose path leaves room for the name of a socket, which pytest's own may not."""
    with tempfile.TemporaryDirectory(prefix="gischat-") as path:
        yield Path(path)


@contextmanager
def running(short_directory: Path, name: str, members: Collection[str], **settings: str) -> Iterator[Deployment]:
    """A deployment of these members, for the tests of a file: it has started when it is given, and ends."""
    made = Deployment(Path(tempfile.mkdtemp(prefix=f"{name}-", dir=short_directory)), **settings)
    try:
        made.start()
        made.wait_until(lambda: made.announced() and made.runs(*members))
        yield made
    finally:
        made.clean_up()


@pytest.fixture
def deployment(short_directory: Path) -> Iterator[Deploy]:
    """Makes deployments, not yet started: `deployment(FRONTS="2")`."""
    with ExitStack() as stack:

        def make(name: str = "first", **settings: Any) -> Deployment:
            directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=short_directory))
            made = Deployment(directory, **settings)
            stack.callback(made.clean_up)
            return made

        yield make
