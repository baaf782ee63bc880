"""Throttle: what happens often is told first at once, and then at most once in an interval."""

import asyncio
from collections.abc import Callable


class Throttle:
    """Calls an action for one or many `ask()`s: the first at once, those of the next `interval` seconds together.

    An `interval` that is set anew holds after the next call.
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
