"""constraints.txt: one version of each dependency, for each supported Python."""

import re
import runpy
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any
from unittest import mock

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.deployment import ROOT

PYTHONS = (
    "3.11.2",
    "3.12.0",
    "3.13.0",
)  # the oldest of each; for 3.11 that of Debian 12, which lacks features of 3.11.3


def locked(environment: Mapping[str, str]) -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate(dict(environment))
    }


@pytest.fixture(scope="module")
def asked_for() -> dict[str, list[Requirement]]:
    """The requirements in setup.py by extra; those to run under the empty name."""
    import setuptools  # takes longer than these tests

    with mock.patch.object(setuptools, "setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    told: dict[str, Any] = setup.call_args.kwargs
    extras = {"": told["install_requires"], **told["extras_require"]}
    return {extra: [Requirement(line) for line in lines] for extra, lines in extras.items()}


@pytest.mark.parametrize("python", PYTHONS)
def test_each_dependency_in_setup_py_has_a_version(asked_for: dict[str, list[Requirement]], python: str) -> None:
    pins = locked({"python_version": python.rpartition(".")[0], "python_full_version": python})
    wrong = [
        str(one)
        for of_extra in asked_for.values()
        for one in of_extra
        if not one.specifier.contains(pins.get(canonicalize_name(one.name), "0"), prereleases=True)
    ]
    assert wrong == [], "make lock"


def test_the_tests_run_with_the_locked_versions(asked_for: dict[str, list[Requirement]]) -> None:
    installed = {canonicalize_name(one.name): version(one.name) for one in asked_for[""]}
    assert installed.items() <= locked({}).items()


def test_all_installations_use_it() -> None:
    for installer in ("deploy/install", "Dockerfile"):
        assert re.search(r"--constraint constraints\.txt", (ROOT / installer).read_text("utf-8")), installer
    # Tests, CI and audit install by make
    assert "constraints.txt deploy/install" in (ROOT / "Makefile").read_text("utf-8")
