"""A fixture for the tests of scripts: one channel in a real Valkey."""

from tests.gischat.broker.wire import start, wire

__all__ = ["start", "wire"]
