"""Exponential back-off with full jitter: many who failed at once do not come back at once."""

import random
from collections.abc import Callable


class Backoff:
    """How long to wait before the next attempt."""

    def __init__(self, first: float, longest: float, draw: Callable[[], float] = random.random) -> None:
        """
        Args:
            first, longest: seconds; the bound of a wait begins with the first and doubles up to the longest.
            draw: a number from 0 to 1.
        """
        self._first = first
        self._longest = longest
        self._draw = draw
        self.failures = 0  # since the last success

    def reset(self) -> None:
        self.failures = 0

    def next(self, at_least: float | None = None) -> float:
        """Seconds to wait after one more failure; not less than what the other side asked for."""
        bound: float = min(self._first * 2 ** min(self.failures, 30), self._longest)
        self.failures += 1
        # Never at once: a half of it is certain.
        return max(at_least or 0.0, bound / 2) + bound / 2 * self._draw()
