"""The errors between a bridge and the other chat."""

from enum import StrEnum


class Trouble(StrEnum):
    """Why the other chat fails; a label of metrics."""

    UNREACHABLE = "unreachable"  # no connection, or no answer in time
    SERVER_ERROR = "server_error"  # an error of the server, or an invalid answer
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"  # the token is wrong or expired
    NO_ROOM = "no_room"  # the room is unknown, or cannot be joined
    CONFLICT = "conflict"  # another program receives the bridge's events


OUT_OF_REACH = frozenset((Trouble.UNREACHABLE, Trouble.SERVER_ERROR, Trouble.UNAUTHORIZED, Trouble.CONFLICT))


class Delayed(Exception):
    """The other chat cannot do it at the moment; `str()` is the reason, without secrets. The attempt is repeated."""

    def __init__(self, trouble: Trouble, reason: str, after: float | None = None) -> None:
        """Create it; `after` is the number of seconds that the other chat asks to wait."""
        super().__init__(reason)
        self.trouble = trouble
        self.after = after


class Rejected(Exception):
    """The other chat will never accept this message; `str()` is the reason."""


class TooLarge(Rejected):
    """A file is larger than permitted."""


class Stopped(Exception):
    """The process stops; the next process repeats the operation."""
