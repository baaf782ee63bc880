"""Log lines: what stands in them, that each is one, and that they do not fill a disk."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from gischat.observability import logs
from tests.support.settings import settings

FRONT = logs.Process("front", "front-1", 4711)

# What a client may put into a path or a header, and what it must not become: a line, an order to the terminal, a
# change of direction, what cannot be written
HOSTILE = "a\n2026-01-01T00:00:00.000Z ERROR front-1[1] gischat: forged\r\x1b[2J\x9b1m\x7f\u2028\u202e\ud800é"

Lines = Callable[[], list[str]]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[logging.Logger, Lines]]]:
    """Sets logging up, `opened(log_format="json")`; gives a logger, and what has been written."""
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def open_(**changes: Any) -> tuple[logging.Logger, Lines]:
        stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
        logs.set_up(FRONT, settings(**changes), stream)

        def lines() -> list[str]:
            stream.flush()
            return stream.buffer.getvalue().decode().splitlines()  # type: ignore[attr-defined]

        return logging.getLogger("gischat.test"), lines

    yield open_
    root.handlers[:], root.level = before
    logging.captureWarnings(False)


def test_a_record_is_an_object_with_fields_of_its_own(opened: Any) -> None:
    log, lines = opened(log_format="json")
    log.warning("too slow, %s", "closed", extra={"connection": 7, "channel": "Été"})
    (line,) = lines()
    record = json.loads(line)
    at = datetime.fromisoformat(record.pop("timestamp"))
    assert at.utcoffset() is not None
    assert record == {
        "level": "WARNING",
        "logger": "gischat.test",
        "message": "too slow, closed",
        "kind": "front",
        "process": "front-1",
        "pid": 4711,
        "connection": 7,
        "channel": "Été",
    }
    assert "Été" in line


def test_text_is_a_line_that_reads(opened: Any) -> None:
    log, lines = opened(log_format="text")
    log.warning("too slow", extra={"connection": 7, "channel": "Field and mobile", "origin": ""})
    (line,) = lines()
    timestamp, _, rest = line.partition(" ")
    assert datetime.fromisoformat(timestamp)
    assert rest == 'WARNING front-1[4711] gischat.test: too slow connection=7 channel="Field and mobile" origin=""'


def test_text_does_not_repeat_what_the_message_says(opened: Any) -> None:
    log, lines = opened(log_format="text")
    log.info("%(method)s answered", {"method": "GET"}, extra={"method": "GET", "request": "r1"})
    assert lines()[0].endswith(": GET answered request=r1")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_nobody_writes_lines_into_our_log(opened: Any, log_format: str) -> None:
    log, lines = opened(log_format=log_format)
    log.info("%s", HOSTILE, extra={"path": HOSTILE})
    (line,) = lines()
    assert line.isprintable()
    assert line.count("é") == 2
    if log_format == "json":
        assert json.loads(line)["path"] == HOSTILE


def test_a_value_cannot_pass_for_another_field(opened: Any) -> None:
    log, lines = opened(log_format="text")
    log.info("x", extra={"user_agent": 'curl" connection=1'})
    assert lines()[0].endswith(r': x user_agent="curl\" connection=1"')


def fault() -> None:
    raise ValueError("quotes\n" + HOSTILE)


def test_a_fault_is_one_field_in_json(opened: Any) -> None:
    log, lines = opened(log_format="json")
    try:
        fault()
    except ValueError:
        log.exception("failed")
    (line,) = lines()
    assert "in fault\n" in json.loads(line)["exception"]


def test_a_fault_in_text_stands_behind_a_margin(opened: Any) -> None:
    log, lines = opened(log_format="text")
    try:
        fault()
    except ValueError:
        log.exception("failed")
    head, *traceback = lines()
    assert head.endswith(": failed")
    assert len(traceback) > 3
    assert all(line.startswith(logs.MARGIN) and line.isprintable() for line in traceback)


def test_warnings_of_python_are_records_too(opened: Any) -> None:
    import warnings

    _, lines = opened(log_format="json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("a coroutine was never awaited", RuntimeWarning, stacklevel=1)
    assert "never awaited" in json.loads(lines()[0])["message"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("log_format", "stream", "is_json"),
    [
        ("auto", Terminal(), False),
        ("auto", io.StringIO(), True),
        ("json", Terminal(), True),
        ("text", io.StringIO(), False),
    ],
)
def test_a_terminal_is_for_people(log_format: str, stream: io.StringIO, is_json: bool) -> None:
    assert logs.is_json(log_format, stream) is is_json


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("redis://user:hunter22@localhost/0", "hunter22"),
        ("redis+sentinel://:p%22ss%2Fword@one,two/main?sentinel_password=opensesame", 'p"ss/word'),
        ("redis+sentinel://:p%22ss%2Fword@one,two/main?sentinel_password=opensesame", "opensesame"),
    ],
)
def test_passwords_are_hidden_whoever_logs_them(opened: Any, log_format: str, url: str, secret: str) -> None:
    log, lines = opened(log_format=log_format, redis_url=url)
    log.warning("cannot connect: unknown command AUTH, with args '%s' of %s", secret, url, extra={"said": secret})
    (line,) = lines()
    assert secret not in line
    assert json.dumps(secret)[1:-1] not in line
    assert url not in line
    assert line.count(logs.HIDDEN) >= 3


def test_without_secrets_nothing_is_hidden(opened: Any) -> None:
    log, lines = opened(log_format="text")
    log.info("as it was")
    assert lines()[0].endswith(": as it was")


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(logs, "time", clock)
    return clock


def test_a_warning_that_is_repeated_without_end_is_counted_instead(opened: Any, clock: Clock) -> None:
    log, lines = opened(log_format="json")

    def warn() -> None:
        log.warning("disk full")

    # Given a place in the code that warns without end
    for _ in range(10_000):
        warn()
    burst = logs.RateLimitFilter.FAULTS.burst
    assert len(lines()) == burst

    # When time goes by, then one more is written, and it says how many were not
    clock.now += logs.RateLimitFilter.FAULTS.seconds
    warn()
    warn()
    assert len(lines()) == burst + 1
    assert json.loads(lines()[-1])["suppressed"] == 10_000 - burst

    # And others were never kept back
    log.warning("something else")
    assert json.loads(lines()[-1])["message"] == "something else"


def test_a_hall_that_joins_is_logged_whole_and_a_flood_of_requests_is_not(opened: Any, clock: Clock) -> None:
    log, lines = opened(log_format="json")
    for _ in range(5):
        clock.now += 1
        for _ in range(2000):
            log.info("GET /")
    assert 1000 <= len(lines()) <= 1000 + 5 / logs.RateLimitFilter.EVENTS.seconds


def test_who_asks_for_everything_gets_it(opened: Any) -> None:
    log, lines = opened(log_format="json", log_level="debug")
    for _ in range(5000):
        log.debug("looked")
    assert len(lines()) == 5000


def test_a_process_logs_to_its_standard_error(opened: Any, capfd: pytest.CaptureFixture[str]) -> None:
    logs.set_up(FRONT, settings(log_format="text"))
    logging.getLogger("gischat").info("here")
    sys.stderr.flush()
    assert capfd.readouterr().err.endswith("gischat: here\n")
