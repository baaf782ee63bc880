"""Where a front is in a channel's stream of publications: offset and epoch. Pure."""

from enum import Enum, auto


class Continuity(Enum):
    """What the number of a publication says about those before it."""

    NEXT = auto()
    GAP = auto()  # some were missed: they were trimmed before they were read
    RESTARTED = auto()  # Redis has lost some, and counts on from an earlier number


class StreamPosition:
    """The numbers of the publications of one channel.

    `offset` is the number of the last publication that was delivered, or that was there before this front, or that is
    there again after Redis has lost some. `required` is how many publications Redis must know of to take a job: with
    fewer it has lost some. `epoch` counts the losses: what was read in an earlier one may be older than its number
    says.
    """

    __slots__ = ("epoch", "offset", "required")

    def __init__(self) -> None:
        self.offset = 0
        self.required = 0
        self.epoch = 0

    def start_at(self, offset: int) -> None:
        """So much was published before this front was there; of what it has not heard itself it requires nothing."""
        self.offset = offset

    def compare(self, number: int) -> Continuity:
        """What it says that the publication of that number comes next."""
        if number == self.offset + 1:
            return Continuity.NEXT
        return Continuity.GAP if number > self.offset else Continuity.RESTARTED

    def advance(self, number: int) -> None:
        """The publication of that number is delivered, or will never be.

        `required` is not lowered here: until all has been said again that Redis has lost, it must take nothing newer.
        """
        self.offset = number
        self.required = max(number, self.required)

    def start_epoch(self) -> None:
        """Redis has lost something."""
        self.epoch += 1

    def reset(self) -> None:
        """What Redis has lost is said again from now on: numbers that were heard already come again."""
        self.required = 0
