"""Exponential back-off with jitter, so that many clients that failed at the same time do not retry at once."""

import random
from collections.abc import Callable


class Backoff:
    """The delays of consecutive attempts."""

    def __init__(self, first: float, longest: float, draw: Callable[[], float] = random.random) -> None:
        """Create it.

        Args:
            first, longest: seconds; the upper bound of the first delay, which then doubles up to the longest.
            draw: returns a random number from 0 to 1.
        """
        self._first = first
        self._longest = longest
        self._draw = draw
        self.failures = 0  # since the last success

    def reset(self) -> None:
        self.failures = 0

    def next(self, at_least: float | None = None) -> float:
        """The seconds to wait after a further failure; at least those that the other side has asked for."""
        bound: float = min(self._first * 2 ** min(self.failures, 30), self._longest)
        self.failures += 1
        # At least half of the bound, so that the next attempt is never immediate.
        return max(at_least or 0.0, bound / 2) + bound / 2 * self._draw()
