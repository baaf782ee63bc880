"""Loads marshmallow without the one pattern that takes 60 ms to compile, a sixth of a front's start.

It is for the domain of an e-mail address, in the letters of all languages without regard to case, and nobody here asks
for one. Who does finds it: it is compiled when it is first used.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

ALL_LETTERS = "\uffff"  # the end of a range that only such patterns have


class LatePattern:
    """A pattern that is compiled when it is first used."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._arguments = pattern, flags

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked of whatever stands in a class
            raise AttributeError(name)
        compiled = _compile(*self._arguments)
        self.__dict__ |= {method: getattr(compiled, method) for method in ("match", "fullmatch", "search", "pattern")}
        return getattr(compiled, name)


_compile = re.compile


def _compile_late(pattern: Any, flags: int = 0) -> Any:
    is_large = isinstance(pattern, str) and ALL_LETTERS in pattern
    return LatePattern(pattern, flags) if is_large else _compile(pattern, flags)


@contextlib.contextmanager
def compiled_when_used() -> Iterator[None]:
    """What is imported within compiles such patterns late; all others as ever."""
    re.compile = _compile_late
    try:
        yield
    finally:
        re.compile = _compile
