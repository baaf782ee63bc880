"""Properties instead of examples: quick and repeatable in `make test`, at random and for long in `make test-long`."""

import time
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Repeat a proof until its time is over."""
    until = time.monotonic() + pyfuncitem.config.getoption("--long")
    result = yield
    while time.monotonic() < until:
        pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames})
    return result
