"""Whose fault it is.

    Uncompliant     the client's: `reason` goes back to it, its connection lives on
    Unavailable     nobody's: the server is full or Redis is away; nothing was accepted, the sender is told why

Everything else that is raised is a bug of ours and belongs in a traceback.
"""

from collections.abc import Mapping
from enum import StrEnum


class RefusalReason(StrEnum):
    """Why a message was refused, in a word for the operator's counts."""

    INVALID = "invalid"  # it breaks the contract
    TOO_LARGE = "too_large"  # it was longer than a message may be, and was not kept
    UNPROCESSABLE = "unprocessable"  # a worker found it so: a picture that is none, a nickname that is taken
    DUPLICATE_ID = "duplicate_id"  # its sender has used its id for something else
    QUEUE_FULL = "queue_full"  # too many of its connection's messages wait
    INBOX_FULL = "inbox_full"  # too many of its channel's messages wait for the workers
    NOT_REGISTERED = "not_registered"  # REQUIRE_REGISTRATION: its author is not its connection's nickname
    RATE_LIMIT = "rate_limit"  # its connection sends too much
    HEAVY_RATE_LIMIT = "heavy_rate_limit"  # … too many images and layers
    ADDRESS_RATE_LIMIT = "address_rate_limit"  # all of its address together do
    HOOK_RATE_LIMIT = "hook_rate_limit"  # its hook's key is used too often
    ADDRESS_QUEUE_FULL = "address_queue_full"  # … have too many images and layers waiting
    BANNED = "banned"  # its author's nickname
    FROZEN = "frozen"  # its channel
    DAMAGED = "damaged"  # a key of its channel in Redis
    MESSAGE_LOST = "message_lost"  # it was taken, and Redis has lost it
    REDIS_UNAVAILABLE = "redis_unavailable"
    SHUTTING_DOWN = "shutting_down"  # the front was told to stop
    INTERNAL_ERROR = "internal_error"  # a bug of ours


class Uncompliant(Exception):
    """What a client sent breaks the contract; `reason` tells its user so in plain words.

    `fields` maps each field at fault to its own reason, where single fields are.
    """

    cause = RefusalReason.INVALID

    def __init__(self, reason: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fields = dict(fields or {})


class Unavailable(Exception):
    """What a client sent is right but cannot be taken now; it is certain that it was not taken."""

    def __init__(self, reason: str, cause: RefusalReason = RefusalReason.REDIS_UNAVAILABLE) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause
