"""Lazy compilation of one regular expression of marshmallow, which takes 60 ms, a sixth of a front's start-up.

It matches the domain of an e-mail address in all scripts, ignoring case, and is not used here. If it were, it would be
compiled on first use.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

ALL_LETTERS = "\uffff"  # end of a range, found only in such patterns


class LatePattern:
    """A pattern that is compiled on first use."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._arguments = pattern, flags

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # looked up on every class attribute
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
    """Compile such patterns lazily in modules imported within this context; others as usual."""
    re.compile = _compile_late
    try:
        yield
    finally:
        re.compile = _compile
