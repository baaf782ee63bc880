"""A real Valkey, for what is kept there."""

from tests.gischat.broker.wire import start, wire

__all__ = ["start", "wire"]
