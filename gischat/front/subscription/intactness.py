"""Until when Redis is known to have lost nothing that this front had received from a channel. Pure."""

from typing import NamedTuple

from gischat.front.dispatch.stream_position import StreamPosition


class Sighting(NamedTuple):
    """A renewal of the lease that showed no loss.

    It proves nothing yet: since a loss, other fronts may have published more than was lost. This front finds out by
    reading what was published until the renewal: after a loss, offsets start again from an earlier one.
    """

    asked_at: float  # loop time
    answered_at: float
    offset: int  # of the newest publication in Redis
    epoch: int  # of this front's position, when it asked


class Intactness:
    """What is known of one channel.

    Attributes:
        until: loop time when Redis still had everything that this front had received.
    """

    def __init__(self) -> None:
        self.until = 0.0
        self._unproven: Sighting | None = None  # the oldest

    def see(self, sighting: Sighting | None, position: StreamPosition, caught_up_at: float) -> None:
        """Take in a renewal (None: it showed a loss); everything published until `caught_up_at` has been received."""
        seen = self._unproven
        if sighting is None or seen is None or seen.epoch != position.epoch:
            self._unproven = sighting
        elif position.offset >= seen.offset and caught_up_at >= seen.answered_at:
            self.until = seen.asked_at
            self._unproven = sighting
