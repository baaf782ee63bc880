"""Logging to the standard error, as JSON for machines or as text for people.

    json    one object a line, RFC 8259: timestamp (RFC 3339, UTC), level, logger, kind, process, pid, message, then the
            record's own fields (connection, request, channel, …) and, for a bug, `exception`
    text    timestamp level process[pid] logger: message field=value …; a traceback follows, each line behind a margin

Clients choose parts of log lines (a path, a user agent), so unprintable characters are escaped in both formats: nobody
can inject lines or terminal escape sequences. Nor can anybody fill the disk: see `RateLimitFilter`.

python-json-logger formats the JSON: it is a formatter of the standard library's logging, which Tornado, asyncio and
redis-py use as well. structlog would be a second logging system, bridged to theirs.
"""

import json
import logging
import re
import sys
import time
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, NamedTuple, TextIO
from urllib.parse import parse_qsl, unquote, urlsplit

from pythonjsonlogger import json as pythonjsonlogger_json
from pythonjsonlogger.core import RESERVED_ATTRS

from gischat.settings import Settings

MARGIN = "    | "
HIDDEN = "***"
NOTHING = r"(?!)"  # matches nowhere
MIN_SECRET_LENGTH = 6  # characters; shorter ones are parts of ordinary words


class Process(NamedTuple):
    """The process named in each log line."""

    kind: str  # front, worker, launcher
    name: str  # front-1
    pid: int


def set_up(process: Process, settings: Settings, stream: TextIO | None = None) -> None:
    """Send all log records and Python warnings to the stream, by default the standard error."""
    handler = logging.StreamHandler(stream or sys.stderr)
    form = JsonFormatter if is_json(settings.log_format, handler.stream) else TextFormatter
    handler.setFormatter(form(process, secrets_of(settings)))
    handler.addFilter(_redact_tornado)
    handler.addFilter(RateLimitFilter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)


def is_json(log_format: str, stream: TextIO) -> bool:
    """Whether `LOG_FORMAT` means JSON; `auto` is text on a terminal, else JSON."""
    return log_format == "json" or (log_format == "auto" and not stream.isatty())


def secrets_of(settings: Settings) -> re.Pattern[str]:
    """A pattern of all passwords and tokens in the settings (raw, unquoted, JSON-escaped), for redaction."""
    redis = urlsplit(settings.redis_url)
    given = {redis.netloc.rpartition("@")[0].partition(":")[2]}
    given |= {value for name, value in parse_qsl(redis.query) if "password" in name}
    for one in fields(settings):
        if not one.repr and one.name != "redis_url":
            value = getattr(settings, one.name)
            given |= {value} if isinstance(value, str) else {secret for _, secret in value}
    given |= {unquote(secret) for secret in given}
    given |= {json.dumps(secret)[1:-1] for secret in given}
    longest_first = sorted((re.escape(one) for one in given if len(one) >= MIN_SECRET_LENGTH), key=len, reverse=True)
    return re.compile("|".join(longest_first) or NOTHING)


def printable(text: str) -> str:
    """Escape unprintable characters: control characters, line ends, changes of text direction."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


class JsonFormatter(pythonjsonlogger_json.JsonFormatter):
    """One object a line."""

    def __init__(self, process: Process, secrets: re.Pattern[str]) -> None:
        super().__init__(
            ("levelname", "name", "message"),
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"},
            static_fields={"kind": process.kind, "process": process.name, "pid": process.pid},
            json_default=str,
            json_ensure_ascii=False,
        )
        self._secrets = secrets

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        log_data["timestamp"] = _timestamp(record)
        super().add_fields(log_data, record, message_dict)

    def format(self, record: logging.LogRecord) -> str:
        return self._secrets.sub(HIDDEN, printable(super().format(record)))


class TextFormatter(logging.Formatter):
    """One line; a traceback follows behind a margin, so that no exception's message can pass for a log line."""

    def __init__(self, process: Process, secrets: re.Pattern[str]) -> None:
        super().__init__()
        self._process = f"{process.name}[{process.pid}]"
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_timestamp(record)} {record.levelname} {self._process} {record.name}: {record.getMessage()}"
        lines = [printable(" ".join([head, *_fields(record)]))]
        if record.exc_info:
            lines += [MARGIN + printable(line) for line in self.formatException(record.exc_info).splitlines()]
        return self._secrets.sub(HIDDEN, "\n".join(lines))


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> list[str]:
    """A record's own fields, except those already in its message."""
    told = record.args if isinstance(record.args, dict) else {}
    return [
        f"{name}={_value(value)}"
        for name, value in record.__dict__.items()
        if name not in RESERVED_ATTRS and name not in told
    ]


def _value(value: object) -> str:
    """A field's value, quoted where it would be ambiguous."""
    text = str(value)
    is_plain = bool(text) and not any(char.isspace() or char in '"=' for char in text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _redact_tornado(record: logging.LogRecord) -> bool:
    """Cut what Tornado quotes of a malformed request (a header with a token, a body); keep its complaint."""
    if record.name.startswith("tornado.") and isinstance(record.args, tuple):
        record.args = tuple(
            re.split(r""":|b?['"]""", str(arg))[0].strip() if isinstance(arg, Exception) else arg for arg in record.args
        )
    return True


class Limit(NamedTuple):
    """A token bucket's size: a burst, and the seconds for one more."""

    burst: int
    seconds: float


class RateLimitFilter(logging.Filter):
    """Rate limit per place in the code; the next record that passes says how many were suppressed.

    Enough for a hall full of people who join at once, and for a failing disk to be noticed, but not to fill a disk.
    Debug records are not limited.
    """

    FAULTS = Limit(30, 10.0)
    EVENTS = Limit(1000, 0.02)

    def __init__(self) -> None:
        super().__init__()
        self._budgets: dict[tuple[str, int], _Budget] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return True
        limit = self.FAULTS if record.levelno >= logging.WARNING else self.EVENTS
        place = record.pathname, record.lineno
        budget = self._budgets.get(place)
        if budget is None:
            budget = self._budgets[place] = _Budget(limit, time.monotonic())
        return budget.spend(record, time.monotonic())


class _Budget:
    """A token bucket."""

    def __init__(self, limit: Limit, now: float) -> None:
        self._limit = limit
        self._left = float(limit.burst)
        self._at = now
        self._suppressed = 0

    def spend(self, record: logging.LogRecord, now: float) -> bool:
        self._left = min(self._left + (now - self._at) / self._limit.seconds, self._limit.burst)
        self._at = now
        if self._left < 1:
            self._suppressed += 1
            return False
        self._left -= 1
        if self._suppressed:
            record.suppressed = self._suppressed
            self._suppressed = 0
        return True
