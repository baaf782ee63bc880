"""Saying why Redis cannot be reached, so that an operator sees it and the log does not fill."""

import asyncio
import logging
import math

from gischat.timings import Timings

log = logging.getLogger(__name__)


class LogThrottle:
    """About one thing that is tried again and again."""

    def __init__(self, what: str, timings: Timings = Timings(), patience: float | None = None) -> None:
        """
        Args:
            what: what cannot be done, to which the reason is added: `gischat-front cannot connect`.
            patience: for how many seconds it may fail before that is worth a warning.
        """
        self._what = what
        self._timings = timings
        self._patience = timings.redis_quiet if patience is None else patience
        self._next_at = math.inf

    def report(self, error: BaseException) -> None:
        """It has failed: a warning when it has for a while, and then once a minute."""
        now = asyncio.get_running_loop().time()
        if self._next_at == math.inf:
            self._next_at = now + self._patience
        is_time = now >= self._next_at
        if is_time:
            self._next_at = now + self._timings.redis_log_interval
        log.log(logging.WARNING if is_time else logging.DEBUG, "%s: %s", self._what, described(error))

    def resolve(self) -> None:
        """It has worked."""
        self._next_at = math.inf


class RedisErrorLog:
    """What Redis answers in place of what was asked for: each kind of error is told at once, and then once a minute.

    It comes with every message while a script of somebody else's runs (BUSY) or a disk is full (MISCONF).
    """

    EXPECTED = ("BUSYGROUP", "NOGROUP", "UNBLOCKED")  # who gets these knows what to do

    def __init__(self, name: str, timings: Timings = Timings()) -> None:
        """
        Args:
            name: of the connection.
        """
        self._timings = timings
        self._what = f"{name}: redis answers with an error"
        self._complaints: dict[str, LogThrottle] = {}

    def record(self, error: BaseException) -> None:
        """Redis has answered this."""
        kind = type(error).__name__ + str(error).partition(" ")[0]  # a code that is told apart is in the class
        if not str(error).startswith(self.EXPECTED):
            self._complaints.setdefault(kind, LogThrottle(self._what, self._timings, patience=0.0)).report(error)


def described(error: BaseException) -> str:
    """An error in a few words; some, as a timeout, have none of their own."""
    return str(error) or type(error).__name__
