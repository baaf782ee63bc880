"""Throttled log lines about errors of Redis: an operator sees each cause, and the log does not fill up."""

import asyncio
import logging
import math

from gischat.timings import Timings

log = logging.getLogger(__name__)


class LogThrottle:
    """Throttles log lines about one operation that is retried."""

    def __init__(self, what: str, timings: Timings = Timings(), patience: float | None = None) -> None:
        """Create it for one operation.

        Args:
            what: what fails, as the beginning of the log line: `gischat-front cannot connect`.
            patience: seconds of failure before the first warning; by default those of the timings.
        """
        self._what = what
        self._timings = timings
        self._patience = timings.redis_quiet if patience is None else patience
        self._next_at = math.inf

    def report(self, error: BaseException) -> None:
        """Log a failure: as a warning if it has lasted for a while, then once a minute; else at DEBUG."""
        now = asyncio.get_running_loop().time()
        if self._next_at == math.inf:
            self._next_at = now + self._patience
        is_time = now >= self._next_at
        if is_time:
            self._next_at = now + self._timings.redis_log_interval
        log.log(logging.WARNING if is_time else logging.DEBUG, "%s: %s", self._what, described(error))

    def resolve(self) -> None:
        """End the failure: the operation has succeeded."""
        self._next_at = math.inf


class RedisErrorLog:
    """Throttles log lines about errors that Redis answers: each kind at once, and then once a minute.

    Some answer every command: BUSY while somebody's script runs, MISCONF while a disk is full.
    """

    EXPECTED = ("BUSYGROUP", "NOGROUP", "UNBLOCKED", "UNREFERABLE")  # not logged, because the callers handle them

    def __init__(self, name: str, timings: Timings = Timings()) -> None:
        """Create it for one connection; `name` is the connection's."""
        self._timings = timings
        self._what = f"{name}: redis answers with an error"
        self._throttles: dict[str, LogThrottle] = {}

    def record(self, error: BaseException) -> None:
        """Log an error that Redis answered, unless it is expected."""
        kind = type(error).__name__ + str(error).partition(" ")[0]  # with an own class, the text has no error code
        if not str(error).startswith(self.EXPECTED):
            self._throttles.setdefault(kind, LogThrottle(self._what, self._timings, patience=0.0)).report(error)


def described(error: BaseException) -> str:
    """The text of an error, or its class where it has none, as a timeout."""
    return str(error) or type(error).__name__
