"""Log lines: what stands in them, that each is one, and that they do not fill a disk."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from gischat.observability import logs
from tests.support.settings import settings

# What a client may put into a path or a header, and what it must not become: a line, an order to the terminal, a
# change of direction, what cannot be written
HOSTILE = "a\n2026-01-01T00:00:00.000Z ERROR front-1[1] gischat: forged\r\x1b[2J\x9b1m\x7f\u2028\u202e\ud800é"

Lines = Callable[[], list[str]]


@pytest.fixture
def opened() -> Iterator[Callable[..., tuple[logging.Logger, Lines]]]:
    """Sets logging up, `opened("json")`; gives a logger, and what has been written."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logging.captureWarnings(False)  # somebody before may have

    def open_(log_format: str, **changes: Any) -> tuple[logging.Logger, Lines]:
        stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
        logs.set_up(logs.Process("front", "front-1", 4711), settings(log_format=log_format, **changes), stream)

        def lines() -> list[str]:
            stream.flush()
            return stream.buffer.getvalue().decode().splitlines()  # type: ignore[attr-defined]

        return logging.getLogger("gischat.test"), lines

    yield open_
    root.handlers[:], root.level = before
    logging.captureWarnings(False)


def test_a_record_is_an_object_with_fields_of_its_own(opened: Any) -> None:
    log, lines = opened("json")
    log.warning("too slow, %s", "closed", extra={"connection": 7, "channel": "Été"})
    (line,) = lines()
    record = json.loads(line)
    assert datetime.fromisoformat(record.pop("timestamp")).utcoffset() is not None
    fields = {"level": "WARNING", "logger": "gischat.test", "kind": "front", "process": "front-1", "pid": 4711}
    assert record == {**fields, "message": "too slow, closed", "connection": 7, "channel": "Été"}
    assert "Été" in line
    # A warning of Python is one, too
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("a coroutine was never awaited", RuntimeWarning, stacklevel=1)
    assert "never awaited" in json.loads(lines()[1])["message"]


def test_text_is_a_line_that_reads(opened: Any) -> None:
    log, lines = opened("text")
    log.warning("too slow", extra={"connection": 7, "channel": "Field and mobile", "origin": ""})
    timestamp, _, rest = lines()[0].partition(" ")
    assert datetime.fromisoformat(timestamp)
    assert rest == 'WARNING front-1[4711] gischat.test: too slow connection=7 channel="Field and mobile" origin=""'
    # What the message says is not repeated, and no value can pass for another field
    log.info("%(method)s answered", {"method": "GET"}, extra={"method": "GET", "agent": 'curl" connection=1'})
    assert lines()[1].endswith(r': GET answered agent="curl\" connection=1"')


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_nobody_writes_lines_into_our_log(opened: Any, log_format: str) -> None:
    log, lines = opened(log_format)
    log.info("%s", HOSTILE, extra={"path": HOSTILE})
    (line,) = lines()
    assert line.isprintable()
    assert line.count("é") == 2
    if log_format == "json":
        assert json.loads(line)["path"] == HOSTILE


def fault() -> None:
    raise ValueError("quotes\n" + HOSTILE)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_fault_is_one_field_in_json_and_stands_behind_a_margin_in_text(opened: Any, log_format: str) -> None:
    log, lines = opened(log_format)
    try:
        fault()
    except ValueError:
        log.exception("failed")
    head, *traceback = lines()
    if log_format == "json":
        assert "in fault\n" in json.loads(head)["exception"]
    else:
        assert head.endswith(": failed")
        assert len(traceback) > 3
    assert all(line.startswith(logs.MARGIN) and line.isprintable() for line in traceback)


@pytest.mark.parametrize(
    ("log_format", "is_terminal", "is_json"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("text", False, False)],
)
def test_a_terminal_is_for_people(log_format: str, is_terminal: bool, is_json: bool) -> None:
    stream: Any = SimpleNamespace(isatty=lambda: is_terminal)
    assert logs.is_json(log_format, stream) is is_json


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_passwords_are_hidden_whoever_logs_them(opened: Any, log_format: str) -> None:
    url = "redis+sentinel://:p%22ss%2Fword@one,two/main?sentinel_password=opensesame"
    log, lines = opened(log_format, redis_url=url)
    for secret in ('p"ss/word', "opensesame"):
        log.warning("unknown command AUTH, with args '%s' of %s", secret, url, extra={"said": secret})
        line = lines()[-1]
        assert not [hidden for hidden in (secret, json.dumps(secret)[1:-1], url) if hidden in line]
        assert line.count(logs.HIDDEN) >= 3


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The time, `clock.now`, which stands still."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_warning_that_is_repeated_without_end_is_counted_instead(opened: Any, clock: Any) -> None:
    log, lines = opened("json")

    def warn(times: int) -> None:
        for _ in range(times):
            log.warning("disk full")

    # Given a place in the code that warns without end
    warn(1000)
    burst = logs.RateLimitFilter.FAULTS.burst
    assert len(lines()) == burst
    # When time goes by, then one more is written, and it says how many were not
    clock.now += logs.RateLimitFilter.FAULTS.seconds
    warn(2)
    assert len(lines()) == burst + 1
    assert json.loads(lines()[-1])["suppressed"] == 1000 - burst
    # And others were never kept back
    log.warning("something else")
    assert json.loads(lines()[-1])["message"] == "something else"


def test_a_hall_that_joins_is_logged_whole_and_a_flood_of_requests_is_not(opened: Any, clock: Any) -> None:
    log, lines = opened("json")
    for _ in range(2):
        clock.now += 1
        for _ in range(1500):
            log.info("GET /")
    assert 1000 <= len(lines()) <= 1000 + 2 / logs.RateLimitFilter.EVENTS.seconds
    # Who asks for everything gets it
    log, lines = opened("json", log_level="debug")
    for _ in range(1100):
        log.debug("looked")
    assert len(lines()) == 1100
