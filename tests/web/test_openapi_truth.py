"""`/openapi.json` and `/asyncapi.json` describe what the server answers and sends: asked, and compared."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from gischat.front.descriptions.paths import PATHS
from tests.support.client import Client
from tests.support.contract import BROADCAST, REPLYABLE, sample, words
from tests.support.description import Description, Operation, is_as_described
from tests.support.processes import Stack
from tests.support.rest import Rest, channel_path, eventually
from tests.support.settings import settings
from tests.web.conftest import Join

StackFactory = Callable[..., Stack]

TEMPLATE = "/channel/{channel}/"
METRICS = "/metrics"
ELSEWHERE = "/qfield"  # redirects to another site
NOT_ASKED = ("/ws", "/events", METRICS, ELSEWHERE)
GETS = [path for path, item in PATHS.items() if "get" in item and not path.endswith(NOT_ASKED)]
OF_A_CHANNEL = [path for path in GETS if path.startswith(TEMPLATE)]
OF_A_MESSAGE = [path for path in GETS if "{id}" in path]
PUT_TEXT = TEMPLATE + "text"
REPLIED = "8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11"


@pytest.fixture
def rest(io_loop: IOLoop, stack: Stack) -> Iterator[Rest]:
    """HTTP requests to the front."""
    client = Rest(stack.fronts[0].url)
    yield client
    client.close()


async def described(rest: Rest) -> Description:
    """The document as the server gives it."""
    return Description(await rest.get("/openapi.json"))


async def ask(
    rest: Rest, method: str, template: str, channel: str, body: str | None = None, id: str = REPLIED
) -> tuple[str, list[str]]:
    """The status of an answer, and what is wrong with it by the server's own description."""
    path = template.replace("{id}", id)
    description = await described(rest)
    concrete = channel_path(channel, path.removeprefix(TEMPLATE)) if path.startswith(TEMPLATE) else path
    answer = await rest.fetch(concrete, method, body)
    status = str(answer.code)
    return status, answer_faults(description, description.operation(method, template), status, answer.body)


def answer_faults(description: Description, operation: Operation, status: str, body: bytes) -> list[str]:
    """What is wrong with an answer: a status or a body that the operation does not name."""
    if status not in operation.responses:
        return [f"{status} is not described"]
    (content,) = operation.responses[status]["content"].values()
    schema = content["schema"]
    if schema.get("format") == "binary":
        return []
    return description.faults_by(schema, json.loads(body))


async def test_what_is_got_is_as_described(rest: Rest, join: Join, channel: str) -> None:
    # So that no list is empty, and one of everything is stored.
    john = await join(channel, "john")
    await send_all(john, [sample(type_) for type_ in BROADCAST])
    shared = next(message for message in john.received if message["type"] == "position")
    for path in GETS:
        assert await ask(rest, "GET", path, channel, id=shared["id"]) == ("200", []), path


async def test_a_message_that_is_not_stored_is_answered_as_described(rest: Rest, channel: str) -> None:
    for path in OF_A_MESSAGE:
        assert await ask(rest, "GET", path, channel) == ("404", []), path


async def test_an_unknown_channel_is_answered_as_described(rest: Rest) -> None:
    for path in OF_A_CHANNEL:
        assert await ask(rest, "GET", path, "nowhere") == ("404", []), path


async def test_a_text_that_is_put_is_answered_as_described(rest: Rest, channel: str) -> None:
    body = json.dumps({"author": "jane", "text": words(), "in_reply_to_id": REPLIED})
    assert await ask(rest, "PUT", PUT_TEXT, channel, body) == ("200", [])


async def test_a_body_that_is_no_text_is_answered_as_described(rest: Rest, channel: str) -> None:
    for body in ("", "not json", "[]", "{}", '{"author": "j", "text": 1, "id": "x"}'):
        assert await ask(rest, "PUT", PUT_TEXT, channel, body) == ("422", []), body


async def test_a_text_put_into_an_unknown_channel_is_answered_as_described(rest: Rest) -> None:
    body = json.dumps({"author": "jane", "text": words()})
    assert await ask(rest, "PUT", PUT_TEXT, "nowhere", body) == ("404", [])


async def test_a_request_for_the_websocket_by_plain_http_is_answered_as_described(rest: Rest, channel: str) -> None:
    description = await described(rest)
    answer = await rest.fetch(channel_path(channel, "ws"))
    assert str(answer.code) in description.operation("GET", TEMPLATE + "ws").responses


async def test_qfield_is_sent_to_its_plugin_as_described(rest: Rest) -> None:
    answer = await rest.fetch(ELSEWHERE, follow_redirects=False)
    assert str(answer.code) in (await described(rest)).operation("GET", ELSEWHERE).responses
    assert answer.headers["Location"] == settings().qfield_plugin_url


async def test_metrics_are_answered_as_described(rest: Rest) -> None:
    described_as = (await described(rest)).operation("GET", METRICS).responses
    answer = await rest.fetch(METRICS)
    assert answer.code == 200
    assert answer.headers["Content-Type"].partition(";")[0] in described_as["200"]["content"]


async def test_metrics_are_refused_as_described(rest: Rest) -> None:
    description = await described(rest)
    answer = await rest.fetch(METRICS, X_Forwarded_For="192.0.2.1")
    assert answer.code == 403
    assert answer_faults(description, description.operation("GET", METRICS), "403", answer.body) == []


async def test_a_server_that_is_not_well_answers_as_described(io_loop: IOLoop, start_stack: StackFactory) -> None:
    stack = start_stack(heavy=0)
    rest = Rest(stack.fronts[0].url)
    for worker in stack.light:
        worker.freeze()

    async def status_of_readyz() -> int:
        return (await rest.fetch("/readyz")).code

    await eventually(status_of_readyz, 503)
    assert await ask(rest, "GET", "/readyz", "QGIS") == ("503", [])
    assert await ask(rest, "GET", "/status", "QGIS") == ("200", [])
    assert (await rest.get("/status"))["status"] == "degraded"
    rest.close()


async def test_everything_that_clients_receive_is_as_described(rest: Rest, join: Join, channel: str) -> None:
    description = await described(rest)
    john = await join(channel, "john", query="?types=live_position")
    jane = await join(channel, "jane")
    sent = [sample(type_) for type_ in BROADCAST]
    sent.append(sample("live_position", timestamp=1_700_000_000))
    sent += [sample(type_, in_reply_to_id=REPLIED) for type_ in REPLYABLE]
    assert [fault for message in sent for fault in description.faults("ClientMessage", message)] == []

    await send_all(jane, sent)
    await jane.send(type="like", liker_author="jane", liked_author="john", message="well said")
    await john.until(type="like")
    await john.until(type="live_position")
    await jane.send_raw("not json")
    await jane.until(type="uncompliant")
    await jane.send(type="exiter", exiter="jane")
    await john.until(type="exiter")

    received = [*john.received, *jane.received]
    mapping = description.component("ServerMessage")["discriminator"]["mapping"]
    assert {message["type"] for message in received} == set(mapping)
    assert [fault for message in received for fault in description.faults("ServerMessage", message)] == []
    of_the_websocket = await rest.get("/asyncapi.json")
    assert [message for message in sent if not is_as_described(of_the_websocket, "receive", message)] == []
    assert [message for message in received if not is_as_described(of_the_websocket, "send", message)] == []
    assert not is_as_described(of_the_websocket, "send", {**received[0], "surprise": 1})


async def send_all(client: Client, messages: list[dict[str, Any]]) -> None:
    """Send the messages and wait until the last of them has come round."""
    for message in messages:
        await client.send(**message)
    await client.say(last := words())
    await client.until(type="text", text=last)
