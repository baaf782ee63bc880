"""Stacks that many tests share, each test in channels of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Self

from tests.support.processes import Stack

AT_ONCE = 12  # fresh channels of a stack
OF_A_TEST = 3  # at the most


class Stacks:
    """One stack after the other: when its channels are used up, the next takes its place.

    One with a channel for every test would be dearer than all of these: whatever it does, it does for all its channels,
    all the time.
    """

    def __init__(
        self,
        open_stack: Callable[..., Stack],
        fresh_channels: Sequence[str],
        other_channels: Sequence[str],
        **options: Any,
    ) -> None:
        channels = ",".join([*other_channels, *fresh_channels])
        self._open = lambda: open_stack(channels=channels, **options)
        self._channels = fresh_channels
        self._current = ExitStack()
        self._stack: Stack | None = None
        self._fresh_channels: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._current.close()

    def with_room(self) -> Stack:
        """The stack that has fresh channels for another test."""
        if self._stack is None or len(self._fresh_channels) < OF_A_TEST:
            self._current.close()
            self._stack = self._open()
            self._current.callback(self._stack.assert_quiet_logs)
            self._current.enter_context(self._stack)
            self._stack.forget_logs()
            self._fresh_channels = [*self._channels]
        return self._stack

    def fresh_channels(self) -> Iterator[str]:
        """The names of channels of the stack that no test has used."""
        return iter(lambda: self._fresh_channels.pop(0), None)

    def assert_quiet_logs(self) -> None:
        if self._stack is not None:
            self._stack.assert_quiet_logs()
