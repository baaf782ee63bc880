"""`/openapi.json` and `/asyncapi.json` describe what the server answers and sends. What requests of all kinds get in an
empty server, tests/proofs/test_openapi.py tries."""

import json
from typing import Any

from tornado.httpclient import HTTPResponse
from tornado.ioloop import IOLoop

from gischat.front.descriptions.paths import PATHS
from tests.conftest import Join, StackFactory
from tests.support.client import Client
from tests.support.contract import BROADCAST, REPLYABLE, sample, words
from tests.support.description import Description, is_as_described
from tests.support.rest import Rest, channel_path, eventually
from tests.support.settings import settings
from tests.web.conftest import Browse

TEMPLATE = "/channel/{channel}/"
METRICS, ELSEWHERE = "/metrics", "/qfield"  # the latter redirects to another site
NOT_ASKED = ("/ws", "/events", METRICS, ELSEWHERE)
GETS = [path for path, item in PATHS.items() if "get" in item and not path.endswith(NOT_ASKED)]
REPLIED = "8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11"


def faults(description: Description, path: str, answer: HTTPResponse) -> list[str]:
    """What is wrong with the answer to a GET: a status or a body that the description does not name."""
    responses = description.operation("GET", path).responses
    if str(answer.code) not in responses:
        return [f"{answer.code} is not described"]
    (content,) = responses[str(answer.code)]["content"].values()
    schema = content["schema"]
    return [] if schema.get("format") == "binary" else description.faults_by(schema, json.loads(answer.body))


async def test_what_is_got_is_as_described(rest: Rest, join: Join, channel: str) -> None:
    description = Description(await rest.get("/openapi.json"))
    # So that no list is empty, and one of everything is stored
    john = await join(channel, nickname="john")
    await send_all(john, [sample(type_) for type_ in BROADCAST])
    shared = next(message for message in john.received if message["type"] == "position")
    for path in GETS:
        end = path.removeprefix(TEMPLATE).replace("{id}", shared["id"])
        answer = await rest.fetch(channel_path(channel, end) if path.startswith(TEMPLATE) else path)
        assert (answer.code, faults(description, path, answer)) == (200, []), path

    answer = await rest.fetch(METRICS)
    described = description.operation("GET", METRICS).responses["200"]["content"]
    assert (answer.code, answer.headers["Content-Type"].partition(";")[0] in described) == (200, True)
    answer = await rest.fetch(METRICS, X_Forwarded_For="192.0.2.1")
    assert (answer.code, faults(description, METRICS, answer)) == (403, [])
    answer = await rest.fetch(channel_path(channel, "ws"))  # by plain HTTP
    assert str(answer.code) in description.operation("GET", TEMPLATE + "ws").responses
    answer = await rest.fetch(ELSEWHERE, follow_redirects=False)
    assert str(answer.code) in description.operation("GET", ELSEWHERE).responses
    assert answer.headers["Location"] == settings().qfield_plugin_url


async def test_a_server_that_is_not_well_answers_as_described_and_the_lobby_says_so(
    io_loop: IOLoop, start_stack: StackFactory, browse: Browse
) -> None:
    stack = start_stack(heavy=0)
    rest = Rest(stack.fronts[0].url)
    description = Description(await rest.get("/openapi.json"))
    for worker in stack.light:
        worker.freeze()

    async def status_of_readyz() -> int:
        return (await rest.fetch("/readyz")).code

    await eventually(status_of_readyz, 503)
    for path, status in (("/readyz", 503), ("/status", 200)):
        answer = await rest.fetch(path)
        assert (answer.code, faults(description, path, answer)) == (status, [])
    assert json.loads(answer.body)["status"] == "degraded"
    page = browse(base_url=stack.fronts[0].url)
    page.expected_errors = ("503",)
    page.until_shown("The server is not well", within="#lobby")
    assert page.find("#join").is_displayed()
    rest.close()


async def test_everything_that_clients_receive_is_as_described(rest: Rest, join: Join, channel: str) -> None:
    description = Description(await rest.get("/openapi.json"))
    john = await join(channel, nickname="john", settled=True, query="?types=live_position")
    jane = await join(channel, nickname="jane")
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

    received = one_of_each([*john.received, *jane.received])
    mapping = description.component("ServerMessage")["discriminator"]["mapping"]
    assert {message["type"] for message in received} == set(mapping)
    assert [fault for message in received for fault in description.faults("ServerMessage", message)] == []
    of_the_websocket = await rest.get("/asyncapi.json")
    assert [message for message in sent if not is_as_described(of_the_websocket, "receive", message)] == []
    assert [message for message in received if not is_as_described(of_the_websocket, "send", message)] == []
    assert not is_as_described(of_the_websocket, "send", {**received[0], "surprise": 1})


def one_of_each(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A message of each shape: of a type, with values of certain types."""
    return [*{(one["type"], *map(type, one.values())): one for one in messages}.values()]


async def send_all(client: Client, messages: list[dict[str, Any]]) -> None:
    """Send the messages and wait until the last of them has come round."""
    for message in messages:
        await client.send(**message)
    await client.until(type="text", text=await client.say(words()))
