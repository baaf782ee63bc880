"""Saying why Redis cannot be reached, so that an operator sees it and the log does not fill."""

import asyncio
import logging
import math

from gischat.timings import Timings

log = logging.getLogger(__name__)


class Complaint:
    """About one thing that is tried again and again."""

    def __init__(self, what: str, timings: Timings = Timings()) -> None:
        """
        Args:
            what: what cannot be done, to which the reason is added: `gischat-front cannot connect`.
        """
        self._what = what
        self._timings = timings
        self._next_at = math.inf

    def make(self, error: BaseException) -> None:
        """It has failed: a warning when it has for a while, and then once a minute."""
        now = asyncio.get_running_loop().time()
        if self._next_at == math.inf:
            self._next_at = now + self._timings.redis_quiet
        is_time = now >= self._next_at
        if is_time:
            self._next_at = now + self._timings.redis_complaint
        log.log(logging.WARNING if is_time else logging.DEBUG, "%s: %s", self._what, described(error))

    def settle(self) -> None:
        """It has worked."""
        self._next_at = math.inf


def described(error: BaseException) -> str:
    """An error in a few words; some, as a timeout, have none of their own."""
    return str(error) or type(error).__name__
