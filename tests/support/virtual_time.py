"""An event loop whose clock moves only when there is nothing else to do: a test that lets minutes pass takes none.

It is for parts that wait for timers and for what the test itself does; sockets and processes live in real time.
"""

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from typing import ParamSpec

P = ParamSpec("P")


class _Selector(selectors.DefaultSelector):
    """Where the loop would wait for a timer, time passes instead."""

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
    """Makes a test of a coroutine function, which runs in a loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(main())

    return run


async def pass_time(seconds: float) -> None:
    """Lets everything happen that happens within so many seconds."""
    await asyncio.sleep(seconds)


async def settle() -> None:
    """Lets everything happen that does not wait for a timer: only then does time pass, a very little."""
    await pass_time(1e-6)


def freeze(seconds: float) -> None:
    """As if the process had stood still for so long: timers are due before anything else has happened."""
    asyncio.get_running_loop()._clock.now += seconds  # type: ignore[attr-defined]
