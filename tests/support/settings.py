"""Settings for tests of single parts."""

import os
from dataclasses import replace
from functools import cache
from typing import Any
from unittest.mock import patch

from gischat.settings import Settings, load

# For tests that send and connect as nobody does; those of the limits set their own.
UNLIMITED = dict.fromkeys(
    (
        "max_messages_per_minute",
        "max_heavy_per_minute",
        "max_address_messages_per_minute",
        "max_address_requests_per_minute",
        "max_connections_per_address",
    ),
    0,
)


def settings(**changes: Any) -> Settings:
    """The defaults but for these changes, whatever the environment of the tests holds."""
    return replace(_defaults(), **changes)


@cache
def _defaults() -> Settings:
    """Frozen, and read once: a test may take them a thousand times."""
    with patch.dict(os.environ, clear=True):
        return load()
