"""The room that an instance may take in Redis when all of its bounds are reached."""

from gischat.broker.scripts import DEAD_BYTES, IDS_NUMBER
from gischat.protocol.messages import Lane
from gischat.settings import Settings

ID_BYTES = 128  # of Redis' memory, for one remembered id


def bytes_per_channel(settings: Settings) -> int:
    """Bytes."""
    streams = len(Lane) * settings.max_inbox_bytes + settings.max_outbox_bytes + DEAD_BYTES
    return streams + settings.max_stored_bytes + IDS_NUMBER * ID_BYTES


def total_bytes(settings: Settings) -> int:
    """Bytes, over all channels."""
    return len(settings.channels) * bytes_per_channel(settings)
