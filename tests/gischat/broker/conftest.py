"""The wire of the scripts' tests, for all tests of what runs inside Redis."""

from tests.gischat.broker.wire import start, wire

__all__ = ["start", "wire"]
