"""Settings for tests of single parts."""

import os
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from gischat.settings import Settings, load


def settings(**changes: Any) -> Settings:
    """The defaults but for these changes, whatever the environment of the tests holds."""
    with patch.dict(os.environ, clear=True):
        return replace(load(), **changes)
