"""What a job comes to: values that say what to publish, for `worker.commit` to carry out in one step."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Publish:
    """To everyone in the channel; into the history if `stored`, with its place (see `worker.places`), if it has one."""

    body: bytes
    stored: bool = True
    place: bytes = b""
    unplaced: str = ""  # what went wrong, if it has no place for that reason


@dataclass(frozen=True, slots=True)
class Refuse:
    """To the sender alone: why not."""

    reason: str


@dataclass(frozen=True, slots=True)
class BodyMissing:
    """The job's body is not there: to the sender alone."""

    user_message: str


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """To nobody."""


@dataclass(frozen=True, slots=True)
class Register:
    """A nickname for the job's connection."""

    nickname: str


@dataclass(frozen=True, slots=True)
class Restore:
    """A nickname that the job's connection had before Redis lost it."""

    nickname: str


@dataclass(frozen=True, slots=True)
class Exit:
    """The job's connection gives its nickname up, by its own word."""

    nickname: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The job's connection is gone."""


@dataclass(frozen=True, slots=True)
class Like:
    """To the connection of the liked author alone."""

    nickname: str


@dataclass(frozen=True, slots=True)
class Count:
    """The job's front has so many connections in the channel."""

    connections: int


class FailureReason(StrEnum):
    """Why a job cannot be done, in a word for the operator's counts."""

    TIMED_OUT = "timed_out"
    CRASHED = "crashed"  # it ended the sandbox, whatever was tried
    ABANDONED = "abandoned"  # it ended one worker after the other
    EXCEPTION = "failed"  # a bug of ours


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """It cannot be done: to the dead letters, with the reason for the operator, and words for the sender."""

    reason: str
    user_message: str = "This message could not be processed by the server. It was not sent."
    failure: FailureReason = FailureReason.EXCEPTION


Effect = Publish | Refuse | BodyMissing | Acknowledge | Register | Restore | Exit | Leave | Like | Count | DeadLetter
