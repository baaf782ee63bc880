"""Rejection log: counts rejections, refusals and closes by reason, and logs them with a rate limit."""

import asyncio
import logging
import math
from collections import Counter

from gischat.errors import RefusalReason
from gischat.observability import metrics
from gischat.observability.metrics import CloseReason, Delay, RejectReason
from gischat.timings import Timings

log = logging.getLogger(__name__)

HARMLESS = frozenset({RejectReason.SLOW_REQUEST})  # browsers open connections in advance


Name = CloseReason | RejectReason | Delay | RefusalReason


class RejectionLog:
    """Logs the first event of each name at once, then at most one line per minute, with the number since the last."""

    def __init__(self, timings: Timings = Timings()) -> None:
        self._quiet = timings.drops_quiet
        self.counts: Counter[Name] = Counter()
        self._now = asyncio.get_running_loop().time
        self._logged_at: dict[Name, float] = {}
        self._logged: Counter[Name] = Counter()

    def record(self, name: Name, what: str, *arguments: object) -> None:
        """Count an event; `what` and its arguments describe it, as for `logging`."""
        self.counts[name] += 1
        if isinstance(name, CloseReason):
            metrics.CONNECTIONS_CLOSED.labels(name).inc()
        elif isinstance(name, RejectReason):
            metrics.CONNECTIONS_REFUSED.labels(name).inc()
        elif isinstance(name, Delay):
            metrics.READING_DELAYED.labels(name).inc()
        self._log(name, what, arguments)

    def _log(self, name: Name, what: str, arguments: tuple[object, ...]) -> None:
        now = self._now()
        if now - self._logged_at.get(name, -math.inf) >= self._quiet:
            more = self.counts[name] - self._logged[name] - 1
            since = f" ({more} more since the last such line)" if more else ""
            level = logging.INFO if name in HARMLESS else logging.WARNING
            log.log(level, f"{name}: {what}{since}", *arguments)
            self._logged_at[name], self._logged[name] = now, self.counts[name]
