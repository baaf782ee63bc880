"""Settings for unit tests."""

import os
from dataclasses import replace
from functools import cache
from typing import Any
from unittest.mock import patch

from gischat.settings import Settings, load

# Without rate limits, for tests that send and connect a lot; tests of the limits set their own.
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
    """The default settings with these changes, independent of the tests' environment."""
    return replace(_defaults(), **changes)


@cache
def _defaults() -> Settings:
    """The default settings, read once, as a test may use them a thousand times."""
    with patch.dict(os.environ, clear=True):
        return load()
