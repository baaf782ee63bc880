"""Typed reading of environment variables, or of the files that they name; collects all errors.

Why not a library: environs imports marshmallow, whose patterns for addresses and URLs are compiled on import. That
would be a third of a worker's start-up time.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Check = Callable[[Any], None]  # takes a value; raises Invalid

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


class Invalid(ValueError):
    """A variable's value is invalid; `str()` says why without quoting the value, which may be secret."""


class Environment:
    """The process' environment, plus a file like .env; `NAME_FILE` names a file that contains the value of `NAME`.

    An invalid value is read as None, and `wrong` maps its variable to the reason. Defaults are not checked.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.wrong: dict[str, str] = {}
        self._variables: Mapping[str, str] = os.environ
        if file is not None and file.is_file():
            from dotenv import dotenv_values  # most processes read no file

            given = {name: value for name, value in dotenv_values(file).items() if value is not None}
            self._variables = given | dict(os.environ)

    def text(self, name: str, default: str | None, check: Check | None = None) -> Any:
        return self._value(name, default, str, check)

    def integer(self, name: str, default: int, check: Check | None = None) -> Any:
        return self._value(name, default, _integer, check)

    def number(self, name: str, default: float, check: Check | None = None) -> Any:
        return self._value(name, default, _number, check)

    def switch(self, name: str, default: bool) -> Any:
        return self._value(name, default, _switch, None)

    def words(self, name: str, default: list[str], check: Check | None = None) -> Any:
        """A comma-separated list; surrounding whitespace is stripped from each item."""
        return self._value(name, default, _words, check)

    def _value(self, name: str, default: Any, read: Callable[[str], Any], check: Check | None) -> Any:
        written = self._written(name)
        if written is None:
            return default
        try:
            value = read(written)
            if check is not None:
                check(value)
        except Invalid as error:
            self.wrong[name] = str(error)
            return None
        return value

    def _written(self, name: str) -> str | None:
        path = self._variables.get(f"{name}_FILE")
        if not path:
            return self._variables.get(name)
        try:
            return Path(path).read_text().strip()
        except (OSError, ValueError) as error:
            self.wrong[f"{name}_FILE"] = f"Cannot be read: {error}."
            return None


def _integer(written: str) -> int:
    try:
        return int(written)
    except ValueError:
        raise Invalid("Must be an integer.") from None


def _number(written: str) -> float:
    try:
        value = float(written)
    except ValueError:
        raise Invalid("Must be a number.") from None
    if not math.isfinite(value):
        raise Invalid("Must be a finite number.")
    return value


def _switch(written: str) -> bool:
    if written.lower() not in _TRUE | _FALSE:
        raise Invalid("Must be yes or no.")
    return written.lower() in _TRUE


def _words(written: str) -> list[str]:
    return [word.strip() for word in written.split(",")] if written else []


def within(least: float, most: float = math.inf) -> Check:
    """Check that a number is from `least` to `most`, both included."""

    def check(value: Any) -> None:
        if value < least:
            raise Invalid(f"Must be at least {least}.")
        if value > most:
            raise Invalid(f"Must be at most {most}.")

    return check


def one_of(words: tuple[str, ...]) -> Check:
    return rule(words.__contains__, f"Must be one of: {', '.join(words)}.")


def like(pattern: str, reason: str, flags: int = 0) -> Check:
    """Check that a text matches `pattern` from its beginning."""
    return rule(lambda text: re.match(pattern, text, flags), reason)


def rule(holds: Callable[[Any], Any], reason: str) -> Check:
    def check(value: Any) -> None:
        if not holds(value):
            raise Invalid(reason)

    return check
