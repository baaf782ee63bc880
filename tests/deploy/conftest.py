"""Deployments that are stopped after their test, and a stack behind proxies."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.deployment import Deployment
from tests.deploy.nginx import BELOW, FRAME_SIZE
from tests.support.admin import TOKEN
from tests.support.processes import HOST, Stack

Deploy = Callable[..., Deployment]


@pytest.fixture(scope="session")
def short_directory() -> Iterator[Path]:
    """A directory whose path is short enough for sockets, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="gischat-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def deploy(short_directory: Path) -> Iterator[Deploy]:
    """Creates deployments, not yet started, for a module: `deploy(FRONTS="2")`."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Deployment:
            made = Deployment(Path(tempfile.mkdtemp(dir=short_directory)), **settings)
            stack.callback(made.clean_up)
            return made

        yield make


@pytest.fixture(scope="package")
def stack(open_stack: Callable[..., Stack]) -> Iterator[Stack]:
    """Two fronts on two ports, as if on two hosts, which trust proxies on this machine's first address."""
    private = {"channel_tokens": "Geotribu:another", "admin_token": TOKEN}
    options = {"max_frame_size": FRAME_SIZE, "trusted_proxies": HOST, "base_path": BELOW, **private}
    with open_stack(fronts=2, heavy=0, **options) as stack:
        yield stack
