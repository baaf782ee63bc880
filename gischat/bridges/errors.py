"""What can go wrong between a bridge and the other chat."""

from enum import StrEnum


class Trouble(StrEnum):
    """Why the other chat does not take or give anything, in a word for the operator's counts."""

    UNREACHABLE = "unreachable"  # no connection, or no answer in time
    SERVER_ERROR = "server_error"  # an answer that is none: an error of its own, or nonsense
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"  # the token is wrong, or has ended
    NO_ROOM = "no_room"  # the room is unknown, or not to be entered
    CONFLICT = "conflict"  # another program receives what is meant for the bridge


OUT_OF_REACH = frozenset((Trouble.UNREACHABLE, Trouble.SERVER_ERROR, Trouble.UNAUTHORIZED, Trouble.CONFLICT))


class Delayed(Exception):
    """The other chat cannot do it now; `str()` says why, without a secret. It is tried again."""

    def __init__(self, trouble: Trouble, reason: str, after: float | None = None) -> None:
        """
        Args:
            after: the seconds that it asks to wait.
        """
        super().__init__(reason)
        self.trouble = trouble
        self.after = after


class Rejected(Exception):
    """The other chat will never take this one message; `str()` says why."""


class TooLarge(Rejected):
    """A file has more bytes than it may."""


class Stopped(Exception):
    """The process is to stop: what was waited for will be done by the next one."""
