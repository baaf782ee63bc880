"""Faults that go to Sentry: they arrive, and nothing of what people wrote does."""

import gzip
import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gischat import __version__
from gischat.observability.sentry import scrubbed
from tests.support.client import DEADLINE, Client
from tests.support.contract import CANARY, sample
from tests.support.processes import HOST, ROOT, Front, Stack, Valkey

SECRET = "opensesame"
NICKNAME = "janeDoe"

# Our processes, with a bug that knows people's words, in its message, its variables, its notes.
FAULTY_FRONT = f"""
import sys
from gischat.observability import process
from gischat.front.handlers import rest
from gischat.commands.front import serve

async def get(self):
    said = "{CANARY} of {NICKNAME}"
    error = ValueError(said)
    error.add_note(said)
    raise error

rest.Rules.get = get
sys.exit(process.run("front", serve))
"""

FAULTY_WORKER = """
import sys
from worker import __main__, handlers

def publish(job):
    said = job.body.decode()
    raise ValueError(said)

handlers.LIGHT = {**handlers.LIGHT, "text": publish}
sys.exit(__main__.main())
"""


class Sink(ThreadingHTTPServer):
    """What stands where Sentry does: keeps what it is sent, whole."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.bodies: list[str] = []
        self.news = threading.Condition()

    @property
    def dsn(self) -> str:
        return f"http://public@{HOST}:{self.server_port}/1"

    def await_item(self, kind: str, holds: Callable[[Any], bool]) -> dict[str, Any]:
        """The first event or transaction of which that holds."""
        with self.news:
            found = self.news.wait_for(lambda: [item for item in self.items(kind) if holds(item)], DEADLINE)
        assert found, f"no {kind} arrived; what did: {self.bodies}"
        return dict(found[0])

    def items(self, kind: str) -> Iterator[Any]:
        """An envelope is lines of JSON: its header, then for each item a header and what it is."""
        for body in self.bodies:
            lines = body.splitlines()[1:]
            for header, item in zip(lines[::2], lines[1::2], strict=True):
                if json.loads(header)["type"] == kind:
                    yield json.loads(item)


class _Handler(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        with self.server.news:
            self.server.bodies.append(body.decode())
            self.server.news.notify_all()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def stack(open_stack: Callable[..., Stack], sink: Sink, valkey: Valkey) -> Iterator[Stack]:
    """A front and a light worker with a bug each, a password for Redis, and Sentry."""
    # Valkey's default user takes any password
    url = valkey.url.replace("redis://", f"redis://default:{SECRET}@")
    stack = open_stack(
        redis_url=url,
        heavy=0,
        sentry_dsn=sink.dsn,
        sentry_traces_sample_rate=1,
        environment="staging",
        process_name="one",
        trusted_proxies=HOST,
    )
    for process, code in ((stack.fronts[0], FAULTY_FRONT), (stack.light[0], FAULTY_WORKER)):
        process._command = [sys.executable, "-c", code, *process._command[3:]]
    with stack:
        yield stack


async def ask(front: Front, path: str, *, method: str = "GET", body: str | None = None) -> int:
    """Asks as someone who gives away all there is."""
    connection = http.client.HTTPConnection(HOST, front.port, timeout=DEADLINE)
    headers = {
        "Authorization": f"Bearer {SECRET}",
        "Cookie": f"session={SECRET}",
        "X-Forwarded-For": "203.0.113.7",
        "X-Request-ID": "named-by-our-proxy",
    }
    try:
        connection.request(method, f"{path}?token={SECRET}", body=body, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def assert_nothing_of_people(sink: Sink) -> None:
    for body in sink.bodies:
        for word in (CANARY, NICKNAME, SECRET, "203.0.113.7", '"vars"', "breadcrumbs"):
            assert word not in body, f"{word} in {body}"
        # The sink itself is at 127.0.0.1, as envelopes say; no event does
        assert f'"{HOST}"' not in body


async def test_faults_of_fronts_and_workers_arrive_without_peoples_words(stack: Stack, sink: Sink) -> None:
    (front,), (worker,) = stack.fronts, stack.light

    # When a front fails at a request, and a worker at a message
    assert await ask(front, "/rules") == 500
    channel_path = "/channel/QGIS/text"
    assert await ask(front, channel_path, method="PUT", body=json.dumps(sample("text", author=NICKNAME))) == 503

    # Then both arrive, and say whose fault it is and where
    failed = sink.await_item("event", lambda event: event["tags"]["kind"] == "front")
    buried = sink.await_item("event", lambda event: event["tags"]["kind"] == "worker")
    for event in (failed, buried):
        assert event["release"] == f"gischat@{__version__}"
        assert event["environment"] == "staging"
        assert event["tags"]["instance"] == stack.settings["instance_id"]
        assert event["tags"]["process"] == "one"
        (exception,) = event["exception"]["values"]
        assert exception["type"] == "ValueError"
        assert exception["stacktrace"]["frames"]
    assert failed["extra"]["request"] == "named-by-our-proxy"
    assert failed["transaction"].endswith("get")
    assert buried["logentry"]["message"] == "a job becomes a dead letter: it could not be processed"
    assert buried["extra"]["type"] == "text"

    # And transactions, if they were asked for
    transaction = sink.await_item("transaction", lambda item: item["transaction"].endswith("PutText.put"))
    assert transaction["contexts"]["trace"]["op"] == "http.server"

    # But for websockets, which last for hours
    client = await Client.connect(front.url, "QGIS")
    await client.leave()

    # And nothing of what was said, who said it, from where, or with what rights
    stack.stop()
    assert_nothing_of_people(sink)
    assert not [item for item in sink.items("transaction") if "WebSocket" in item["transaction"]]
    assert worker.exit_status == front.exit_status == 0


WORDS = {
    "event_id": "e1",
    "level": "error",
    "logger": "gischat.front.handlers.rest",
    "release": "gischat@1",
    "tags": {"kind": "front"},
    "request": {"url": CANARY, "query_string": CANARY, "headers": {"Authorization": CANARY}, "data": CANARY},
    "user": {"ip_address": CANARY},
    "breadcrumbs": {"values": [{"message": CANARY}]},
    "logentry": {"message": "a fault in %s", "formatted": CANARY, "params": [CANARY]},
    "message": CANARY,
    "modules": {CANARY: "1"},
    "extra": {"request": "r1", "said": CANARY, "sys.argv": [CANARY]},
    "contexts": {
        "runtime": {"name": "CPython"},
        "trace": {"trace_id": "t1", "op": "http.server", "description": CANARY, "data": {"url": CANARY}},
        "response": {"data": CANARY},
    },
    "spans": [{"description": CANARY}],
    "threads": {"values": [{"name": CANARY}]},
    "exception": {
        "values": [
            {
                "type": "ValueError",
                "module": None,
                "value": CANARY,
                "mechanism": {"type": "logging", "handled": True, "data": {"said": CANARY}},
                "stacktrace": {"frames": [{"function": "read", "lineno": 3, "vars": {"said": CANARY}}]},
            }
        ]
    },
    "what_comes_next": CANARY,
}


@pytest.mark.parametrize("kind", [None, "transaction"])
def test_only_what_is_known_to_be_ours_is_sent(kind: str | None) -> None:
    sent = scrubbed(WORDS if kind is None else WORDS | {"type": kind})
    assert CANARY not in json.dumps(sent)
    assert sent["exception"]["values"][0]["stacktrace"] == {"frames": [{"function": "read", "lineno": 3}]}
    assert sent["logentry"] == {"message": "a fault in %s"}
    assert sent["extra"] == {"request": "r1"}
    assert sent["contexts"]["trace"] == {"trace_id": "t1", "op": "http.server"}
    assert sent["tags"] == {"kind": "front"}


def test_the_words_of_others_log_lines_are_not_sent() -> None:
    # asyncio writes into its message what it is about
    sent = scrubbed({"logger": "asyncio", "logentry": {"message": f"exception was never retrieved: {CANARY}"}})
    assert CANARY not in json.dumps(sent)


def test_an_event_with_nothing_in_it_is_sent_as_it_is() -> None:
    assert scrubbed({"level": "error"})["level"] == "error"


IDLE = """
import sys, threading
from gischat.observability import process

async def main(settings, timings, stop):
    print("sentry_sdk" in sys.modules, threading.active_count())

sys.exit(process.run("front", main))
"""


@pytest.mark.processes
@pytest.mark.parametrize(("dsn", "shown"), [("", "False 1"), ("http://public@127.0.0.1:9/1", "True 1")])
def test_nothing_is_imported_without_a_dsn_and_no_thread_runs_before_a_fault(dsn: str, shown: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", IDLE],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SENTRY_DSN": dsn},
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE,
    )
    assert ran.stdout.strip() == shown
