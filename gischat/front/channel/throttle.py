"""Throttle with leading and trailing edge: the first call at once, then at most one per interval."""

import asyncio
from collections.abc import Callable


class Throttle:
    """Calls an action on `trigger`: the first time at once, then once for all triggers of the next `interval` seconds.

    A changed `interval` takes effect after the next call.
    """

    __slots__ = ("_action", "_is_triggered", "_timer", "interval")

    def __init__(self, interval: float, action: Callable[[], None]) -> None:
        self.interval = interval
        self._action = action
        self._is_triggered = False
        self._timer: asyncio.TimerHandle | None = None

    def trigger(self) -> None:
        if self._timer is None:
            self._run()
        else:
            self._is_triggered = True

    def _run(self) -> None:
        self._is_triggered = False
        self._timer = asyncio.get_running_loop().call_later(self.interval, self._on_interval_over)
        self._action()

    def _on_interval_over(self) -> None:
        self._timer = None
        if self._is_triggered:
            self._run()
