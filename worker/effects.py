"""The effects of jobs: values that describe what to publish, which `worker.commit` executes in one step."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish to everyone in the channel; store it if `stored`, with its place (see `worker.places`), if it has one."""

    body: bytes
    stored: bool = True
    place: bytes = b""
    unplaced: str = ""  # the reason if its place could not be determined


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse; only the sender gets the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class BodyMissing:
    """The job's body is missing; only the sender is told."""

    user_message: str


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Publish nothing."""


@dataclass(frozen=True, slots=True)
class Register:
    """Register a nickname for the job's connection."""

    nickname: str


@dataclass(frozen=True, slots=True)
class Restore:
    """Restore the nickname of the job's connection, which Redis has lost."""

    nickname: str


@dataclass(frozen=True, slots=True)
class Exit:
    """Give up the nickname of the job's connection, at its client's request."""

    nickname: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Free the nickname of the job's connection, which has ended."""


@dataclass(frozen=True, slots=True)
class Like:
    """Publish a like to the liked author's connection only."""

    nickname: str


@dataclass(frozen=True, slots=True)
class Count:
    """Set the number of the front's connections in the channel."""

    connections: int


class FailureReason(StrEnum):
    """Why a job failed: values of a metric's label."""

    TIMED_OUT = "timed_out"
    CRASHED = "crashed"  # the sandbox crashed in each attempt
    ABANDONED = "abandoned"  # several workers died while they held it
    EXCEPTION = "failed"  # a bug of ours


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The job failed: move it to the dead letters, with a reason for the operator and one for the sender."""

    reason: str
    user_message: str = "This message could not be processed by the server. It was not sent."
    failure: FailureReason = FailureReason.EXCEPTION


Effect = Publish | Refuse | BodyMissing | Acknowledge | Register | Restore | Exit | Leave | Like | Count | DeadLetter
