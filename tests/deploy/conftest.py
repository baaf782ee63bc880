"""Deployments that end with their test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.deployment import Deployment

Deploy = Callable[..., Deployment]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deploy]:
    """Makes deployments, not yet started: `deployment(FRONTS="2")`."""
    with ExitStack() as stack:

        def make(name: str = "first", **settings: Any) -> Deployment:
            directory = tmp_path / name
            directory.mkdir()
            made = Deployment(directory, **settings)
            stack.callback(made.clean_up)
            return made

        yield make
