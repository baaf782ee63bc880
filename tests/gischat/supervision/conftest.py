"""A working directory and an environment of a test's own."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from gischat.settings import variables


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ):
        for name in variables():
            os.environ.pop(name, None)
        os.environ.pop("GISCHAT_ENV_FILE_NAMES", None)
        yield tmp_path
