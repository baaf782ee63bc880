"""Until when Redis is known to have lost nothing that this process had received from a channel. Pure."""

from typing import NamedTuple

from gischat.broker.presence import Renewal
from gischat.front.dispatch.stream_position import StreamPosition


class _Question(NamedTuple):
    """The position when the renewal of a lease was requested, at that loop time."""

    at: float
    offset: int
    epoch: int


class _Sign(NamedTuple):
    """A renewal that showed no loss, but is no proof: since a loss, others may have published more than was lost.

    The proof is to receive what was published until then: after a loss, its offsets do not follow those received.
    """

    question: _Question
    answered_at: float
    published: int


class Intactness:
    """What the renewals of a lease, and what was received, tell of one channel.

    Attributes:
        until: loop time when Redis still had everything that this process had received.
    """

    def __init__(self, position: StreamPosition) -> None:
        self.until = 0.0
        self._position = position
        self._question = _Question(0.0, 0, 0)
        self._sign: _Sign | None = None  # the oldest without proof

    def ask(self, now: float) -> None:
        """Record that the renewal is about to be requested."""
        self._question = _Question(now, self._position.offset, self._position.epoch)

    def answer(self, renewal: Renewal, caught_up_at: float, now: float) -> bool:
        """Take in the renewal; returns whether it shows no loss.

        Args:
            caught_up_at: loop time; everything published until then has been received.
        """
        asked, sign = self._question, self._sign
        if not renewal.was_known or renewal.offset < asked.offset:
            self._sign = None
            return False
        if sign is not None and sign.question.epoch == self._position.epoch:
            if self._position.offset < sign.published or caught_up_at < sign.answered_at:
                return True  # the proof may still come
            self.until = sign.question.at
        self._sign = _Sign(asked, now, renewal.offset)
        return True
