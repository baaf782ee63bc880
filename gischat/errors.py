"""Whose fault it is.

    Uncompliant     the client's: `reason` goes back to it, its connection lives on
    Refused         nobody's: the house is full or Redis is away; nothing was accepted, the sender is told why

Everything else that is raised is a bug of ours and belongs in a traceback.
"""

from collections.abc import Mapping
from enum import StrEnum


class Cause(StrEnum):
    """Why a message was refused, in a word for the operator's counts."""

    INVALID = "invalid"  # it breaks the contract
    TOO_LARGE = "too_large"  # it was longer than a message may be, and was not kept
    UNPROCESSABLE = "unprocessable"  # a worker found it so: a picture that is none, a nickname that is taken
    ID_USED = "id_used"  # its sender has used its id for something else
    QUEUE_FULL = "queue_full"  # too many of its connection's messages wait
    INBOX_FULL = "inbox_full"  # too many of its channel's messages wait for the workers
    NOT_REGISTERED = "not_registered"  # REQUIRE_REGISTRATION: its author is not its connection's nickname
    TOO_FAST = "too_fast"  # its connection sends too much
    TOO_HEAVY = "too_heavy"  # … too many images and layers
    ADDRESS_TOO_FAST = "address_too_fast"  # all of its address together do
    ADDRESS_FULL = "address_full"  # … have too many images and layers waiting
    BANNED = "banned"  # its author's nickname
    FROZEN = "frozen"  # its channel
    DAMAGED = "damaged"  # a key of its channel in Redis
    LOST = "lost"  # it was taken, and Redis has lost it
    REDIS_AWAY = "redis_away"
    STOPPING = "stopping"  # the front was told to stop
    FAULT = "fault"  # a bug of ours


class Uncompliant(Exception):
    """What a client sent breaks the contract; `reason` tells its user so in plain words.

    `fields` maps each field at fault to its own reason, where single fields are.
    """

    cause = Cause.INVALID

    def __init__(self, reason: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fields = dict(fields or {})


class Refused(Exception):
    """What a client sent is right but cannot be taken now; it is certain that it was not taken."""

    def __init__(self, reason: str, cause: Cause = Cause.REDIS_AWAY) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause
