"""Errors that are reported to a message's sender.

    Uncompliant     the client's fault: it receives `reason`, and its connection stays open
    Unavailable     the server cannot accept a valid message now (queue full, Redis down); it was not enqueued

Any other exception is a bug in the server and belongs in a traceback.
"""

from collections.abc import Mapping
from enum import StrEnum


class RefusalReason(StrEnum):
    """Why a message was refused: values of the metric's label `reason`."""

    INVALID = "invalid"  # violates the protocol
    TOO_LARGE = "too_large"  # longer than the maximum frame; its payload was discarded
    UNPROCESSABLE = "unprocessable"  # refused by a worker: a broken picture, a nickname that is taken
    DUPLICATE_ID = "duplicate_id"  # the sender has used the id for another message
    QUEUE_FULL = "queue_full"  # too many messages of the connection wait to be published
    SERVER_FULL = "server_full"  # too much waits of all: in the front, or in the channel's inbox
    NOT_REGISTERED = "not_registered"  # REQUIRE_REGISTRATION: the author is not the connection's nickname
    RATE_LIMIT = "rate_limit"  # the connection's messages
    HEAVY_RATE_LIMIT = "heavy_rate_limit"  # the connection's images and layers
    ADDRESS_RATE_LIMIT = "address_rate_limit"  # the messages of all connections of the address
    HOOK_RATE_LIMIT = "hook_rate_limit"  # its hook's key is used too often
    ADDRESS_QUEUE_FULL = "address_queue_full"  # … of the address, in either
    BANNED = "banned"  # the author's nickname is banned
    FROZEN = "frozen"  # the channel is frozen
    DAMAGED = "damaged"  # a key of the channel in Redis is damaged
    MESSAGE_LOST = "message_lost"  # accepted, then lost by Redis
    REDIS_UNAVAILABLE = "redis_unavailable"
    SHUTTING_DOWN = "shutting_down"  # the front is shutting down
    INTERNAL_ERROR = "internal_error"  # a bug in the server


class Uncompliant(Exception):
    """A client's message violates the protocol; `reason` explains that to its user.

    `fields` maps each invalid field to its reason; empty if the fault lies in no single field.
    """

    cause = RefusalReason.INVALID

    def __init__(self, reason: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fields = dict(fields or {})


class Unavailable(Exception):
    """A valid message cannot be accepted now. It was certainly not enqueued, so the client can safely retry."""

    def __init__(self, reason: str, cause: RefusalReason = RefusalReason.REDIS_UNAVAILABLE) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause
