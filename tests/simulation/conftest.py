"""The garbage of a world is collected at its end: that must not mean to search all that the other tests have loaded."""

import gc
from collections.abc import Iterator

import pytest

from tests.simulation.loop import collect_garbage


@pytest.fixture(scope="module", autouse=True)
def frozen_heap() -> Iterator[None]:
    gc.freeze()
    yield
    collect_garbage()
    gc.enable()
    gc.unfreeze()
