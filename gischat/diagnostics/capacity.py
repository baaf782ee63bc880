"""Capacity: the memory that an instance takes in Redis at most, with all streams and histories full."""

from gischat.broker.scripts import DEAD_BYTES, IDS_NUMBER
from gischat.protocol.messages import Lane
from gischat.settings import Settings

ID_BYTES = 128  # of Redis' memory per remembered message id


def bytes_per_channel(settings: Settings) -> int:
    """Maximum bytes of one channel."""
    streams = len(Lane) * settings.max_inbox_bytes + settings.max_outbox_bytes + DEAD_BYTES
    return streams + settings.max_stored_bytes + IDS_NUMBER * ID_BYTES


def total_bytes(settings: Settings) -> int:
    """Maximum bytes of all channels."""
    return len(settings.channels) * bytes_per_channel(settings)
