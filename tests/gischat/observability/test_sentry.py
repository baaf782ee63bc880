"""Faults that go to Sentry: they arrive, and nothing of what people wrote does."""

import http.client
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gischat import __version__
from gischat.observability.sentry import scrubbed
from tests.conftest import StackFactory
from tests.gischat.observability.conftest import Receiver, program
from tests.support.client import DEADLINE, Client
from tests.support.contract import CANARY, sample
from tests.support.fork_server import run
from tests.support.processes import HOST, Front, Stack, Valkey

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


class Sink:
    """What Sentry has been sent."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    @property
    def bodies(self) -> list[str]:
        return [body.decode() for body in self._receiver.bodies]

    def await_item(self, kind: str, holds: Callable[[Any], bool]) -> dict[str, Any]:
        """The first event or transaction of which that holds."""
        news = self._receiver.news
        with news:
            found = news.wait_for(lambda: [item for item in self.items(kind) if holds(item)], DEADLINE)
        assert found, f"no {kind} arrived; what did: {self.bodies}"
        return dict(found[0])

    def items(self, kind: str) -> Iterator[Any]:
        """An envelope is lines of JSON: its header, then for each item a header and what it is."""
        for body in self.bodies:
            lines = body.splitlines()[1:]
            for header, item in zip(lines[::2], lines[1::2], strict=True):
                if json.loads(header)["type"] == kind:
                    yield json.loads(item)


@pytest.fixture
def stack(open_stack: StackFactory, receiver: Receiver, valkey: Valkey) -> Iterator[Stack]:
    """A front and a light worker with a bug each, a password for Redis, and Sentry."""
    stack = open_stack(
        # Valkey's default user takes any password
        redis_url=valkey.url.replace("redis://", f"redis://default:{SECRET}@"),
        heavy=0,
        sentry_dsn=f"http://public@{receiver.address}/1",
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


async def test_faults_of_fronts_and_workers_arrive_without_peoples_words(stack: Stack, receiver: Receiver) -> None:
    (front,), (worker,), sink = stack.fronts, stack.light, Sink(receiver)

    # When a front fails at a request, and a worker at a message
    assert await ask(front, "/rules") == 500
    said = json.dumps(sample("text", author=NICKNAME))
    assert await ask(front, "/channel/QGIS/text", method="PUT", body=said) == 503

    # Then both arrive, and say whose fault it is and where
    failed = sink.await_item("event", lambda event: event["tags"]["kind"] == "front")
    buried = sink.await_item("event", lambda event: event["tags"]["kind"] == "worker")
    for event in (failed, buried):
        assert (event["release"], event["environment"]) == (f"gischat@{__version__}", "staging")
        assert (event["tags"]["instance"], event["tags"]["process"]) == (stack.settings["instance_id"], "one")
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
    for body in sink.bodies:
        for word in (CANARY, NICKNAME, SECRET, "203.0.113.7", '"vars"', "breadcrumbs"):
            assert word not in body, f"{word} in {body}"
        # The receiver itself is at 127.0.0.1, as envelopes say; no event does
        assert f'"{HOST}"' not in body
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


@pytest.mark.parametrize("kind", [{}, {"type": "transaction"}])
def test_only_what_is_known_to_be_ours_is_sent(kind: dict[str, str]) -> None:
    sent = scrubbed(WORDS | kind)
    assert CANARY not in json.dumps(sent)
    assert sent["exception"]["values"][0]["stacktrace"] == {"frames": [{"function": "read", "lineno": 3}]}
    assert sent["logentry"] == {"message": "a fault in %s"}
    assert sent["extra"] == {"request": "r1"}
    assert sent["contexts"]["trace"] == {"trace_id": "t1", "op": "http.server"}
    assert sent["tags"] == {"kind": "front"}
    # Nor are words of others' log lines: asyncio writes into its message what it is about
    sent = scrubbed({"logger": "asyncio", "logentry": {"message": f"exception was never retrieved: {CANARY}"}})
    assert CANARY not in json.dumps(sent)
    assert scrubbed({"level": "error"})["level"] == "error"


IDLE = program("front", 'print("sentry_sdk" in sys.modules, threading.active_count())')


@pytest.mark.processes
@pytest.mark.parametrize(("dsn", "shown"), [("", "False 1"), ("http://public@127.0.0.1:9/1", "True 1")])
def test_nothing_is_imported_without_a_dsn_and_no_thread_runs_before_a_fault(dsn: str, shown: str) -> None:
    ran = run("-c", IDLE, SENTRY_DSN=dsn)
    assert (ran.returncode, ran.stdout.strip()) == (0, shown)
