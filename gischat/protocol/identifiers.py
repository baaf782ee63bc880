"""The id and timestamp of a message."""

import time
import uuid


def new_id() -> str:
    """A message's id: a UUID, as a string."""
    return str(uuid.uuid4())


def now() -> int:
    """A message's timestamp: whole seconds since the epoch."""
    return int(time.time())
