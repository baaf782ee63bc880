"""A front's position in a channel's publications: offset and epoch. Pure."""

from enum import Enum, auto


class Continuity(Enum):
    """How a publication's offset relates to the position."""

    NEXT = auto()
    GAP = auto()  # publications are missing: they were trimmed before this front read them
    RESTARTED = auto()  # Redis has lost publications, and counts on from an earlier offset


class StreamPosition:
    """The position in one channel.

    Attributes:
        offset: of the last publication that was delivered or skipped.
        required: the offset that Redis must have reached to accept a job; a lower one reveals a loss.
        epoch: the number of losses; offsets of different epochs cannot be compared.
    """

    __slots__ = ("epoch", "offset", "required")

    def __init__(self) -> None:
        self.offset = 0
        self.required = 0
        self.epoch = 0

    def start_at(self, offset: int) -> None:
        """Start behind publications that this front does not need; `required` stays 0, as it has received none."""
        self.offset = offset

    def compare(self, number: int) -> Continuity:
        """Compare a publication's offset with the position."""
        if number == self.offset + 1:
            return Continuity.NEXT
        return Continuity.GAP if number > self.offset else Continuity.RESTARTED

    def advance(self, number: int) -> None:
        """Record that the publication of that offset was delivered, or never will be.

        `required` is not lowered here: until the replay is complete, Redis must not accept newer jobs.
        """
        self.offset = number
        self.required = max(number, self.required)

    def start_epoch(self) -> None:
        """Start a new epoch after a loss."""
        self.epoch += 1

    def reset(self) -> None:
        """Require nothing any more: the replay starts, and publishes offsets that were received before."""
        self.required = 0
