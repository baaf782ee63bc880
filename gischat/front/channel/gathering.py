"""Gathering: what happens often is told first at once, and then at most once in an interval."""

import asyncio
from collections.abc import Callable


class Gathering:
    """Calls an action for one or many `ask()`s: the first at once, those of the next `interval` seconds together.

    An `interval` that is set anew holds after the next call.
    """

    __slots__ = ("_action", "_is_asked", "_rest", "interval")

    def __init__(self, interval: float, action: Callable[[], None]) -> None:
        self.interval = interval
        self._action = action
        self._is_asked = False
        self._rest: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        if self._rest is None:
            self._act()
        else:
            self._is_asked = True

    def _act(self) -> None:
        self._is_asked = False
        self._rest = asyncio.get_running_loop().call_later(self.interval, self._rested)
        self._action()

    def _rested(self) -> None:
        self._rest = None
        if self._is_asked:
            self._act()
