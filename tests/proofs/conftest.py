"""Properties instead of examples: quick and repeatable in `make test`, at random and for long in `make test-long`."""

import time
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

# On a busy machine anything may be slow.
COMMON = settings(deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("quick", COMMON, derandomize=True, max_examples=25)
settings.register_profile("long", COMMON, max_examples=200)


def pytest_configure(config: pytest.Config) -> None:
    """Choose how a property is tried, before there is one."""
    set_hypothesis_home_dir(config.rootpath / ".cache/hypothesis")
    settings.load_profile("long" if config.getoption("--long") else "quick")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Repeat a proof until its time is over."""
    until = time.monotonic() + pyfuncitem.config.getoption("--long")
    result = yield
    while time.monotonic() < until:
        pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames})
    return result
