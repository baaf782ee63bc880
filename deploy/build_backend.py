"""PEP 517 build backend: setuptools, plus bundling of the map.

An editable installation does not bundle it; deploy/install does.
"""

from typing import Any

import page
from setuptools import build_meta as setuptools
from setuptools.build_meta import *  # noqa: F403  # the rest of PEP 517's hooks


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return [*setuptools.get_requires_for_build_wheel(config_settings), page.DENO]


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    return [*setuptools.get_requires_for_build_sdist(config_settings), page.DENO]


def build_wheel(directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> Any:
    page.main(["bundle"])
    return setuptools.build_wheel(directory, config_settings, metadata_directory)


def build_sdist(directory: str, config_settings: Any = None) -> Any:
    page.main(["bundle"])
    return setuptools.build_sdist(directory, config_settings)
