"""Virtual time: an event loop whose clock advances only when nothing else is left to do, so that minutes take no time.

It is for code that waits for timers and for the test itself; sockets and processes need real time.
"""

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from typing import ParamSpec

P = ParamSpec("P")


class _Selector(selectors.DefaultSelector):
    """Advances the clock instead of waiting for a timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is left that could happen: what the test awaits never comes"
        self.now += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def virtual_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Decorator of a coroutine function: runs the test in a loop with virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(main())

    return run


async def pass_time(seconds: float) -> None:
    """Let so many seconds pass, with all timers that are due."""
    await asyncio.sleep(seconds)


async def settle() -> None:
    """Let everything run that does not wait for a timer; then a microsecond passes."""
    await pass_time(1e-6)


def freeze(seconds: float) -> None:
    """Simulate a frozen process: the clock jumps, and timers are due before anything else has happened."""
    asyncio.get_running_loop()._clock.now += seconds  # type: ignore[attr-defined]
