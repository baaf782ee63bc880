"""Logs: one line per event, without messages' texts. (All tests check the latter, too: see conftest.)"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tests.support.client import DEADLINE, Client
from tests.support.contract import BROADCAST, CANARY, sample
from tests.support.processes import HOST, Front, Stack, Valkey
from tests.support.rest import Rest
from tests.wire.conftest import Join

ALWAYS = {"timestamp", "level", "logger", "message", "kind", "process", "pid"}


async def until(condition: Callable[[], Any]) -> Any:
    """The result of the condition, once it is true: processes write their lines a moment later."""
    async with asyncio.timeout(DEADLINE):
        while not (found := condition()):
            await asyncio.sleep(0.02)
    return found


async def test_messages_are_not_logged(stack: Stack, channel: str, join: Join, rest: Rest) -> None:
    jane = await join(channel, nickname="janeDoe")

    # When a client sends valid and invalid messages of every type, and a bot does
    for type_ in BROADCAST:
        await jane.send(**sample(type_))
        await jane.send(**sample(type_, author=CANARY * 9))
        await jane.send(**sample(type_, unknown=CANARY))
    await jane.send(**sample("like", liked_author="janeDoe"))
    await jane.send_raw(CANARY)
    await rest.put_text(channel, sample("text"))
    await rest.put_text(channel, CANARY)
    await jane.until(text=await jane.say())

    # Then no process has logged a text or a nickname, and every line is a record
    stack.assert_quiet_logs()
    assert stack.fronts[0].new_log()
    for process in stack.processes:
        assert "janeDoe" not in process.new_log()
        assert all(record.keys() >= ALWAYS for record in process.records())


async def raw(front: Front, request: str) -> str:
    """The answer to an HTTP request that no library would send."""
    reader, writer = await asyncio.open_connection(HOST, front.port)
    writer.write(request.encode("latin-1"))
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return answer.decode("latin-1")


async def test_a_request_has_a_line_and_an_id(stack: Stack) -> None:
    front = stack.fronts[0]

    # Given a request with a secret in its query, from a client that sets a request id
    answer = await raw(
        front,
        "GET /version?token=opensesame HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"User-Agent: {'curl' * 100}\r\nX-Request-ID: i-name-myself\r\n\r\n",
    )

    # Then the answer has the id of the log line
    (record,) = await until(lambda: front.records(logger="gischat.access", method="GET"))
    assert f"X-Request-Id: {record['request']}\r\n".lower() in answer.lower()
    assert record["request"] != "i-name-myself"
    assert {name: record[name] for name in ("address", "method", "path", "status", "level")} == {
        "address": HOST,
        "method": "GET",
        "path": "/version?token=***",
        "status": 200,
        "level": "INFO",
    }
    assert record["bytes"] > 0
    assert record["duration_ms"] >= 0
    assert len(record["user_agent"]) < 200
    assert "opensesame" not in front.new_log()


async def test_every_kind_of_answer_bears_an_id(stack: Stack) -> None:
    front = stack.fronts[0]
    for path, status in (("/nowhere", 404), ("/channel/nowhere/last", 404), ("/web/nowhere.js", 404), ("/", 200)):
        answer = await raw(front, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        (record,) = await until(lambda path=path: front.records(logger="gischat.access", path=path))
        assert record["status"] == status
        assert record["request"] in answer


async def test_probes_and_polling_are_not_logged(stack: Stack, rest: Rest) -> None:
    for path in ("/livez", "/readyz", "/status", "/channel/QGIS/users", "/channel/QGIS/users", "/version"):
        await rest.get(path)
    await until(lambda: stack.fronts[0].records(path="/version"))
    for path in ("/livez", "/status", "/channel/QGIS/users"):
        assert not stack.fronts[0].records(path=path)
    # Failing probes are logged
    assert (await rest.fetch("/channel/x/users")).code == 404
    await until(lambda: stack.fronts[0].records(path="/channel/x/users", status=404))


async def test_a_websocket_has_a_line_when_it_opens_and_one_when_it_ends(stack: Stack, channel: str) -> None:
    front = stack.fronts[0]
    client = await Client.connect(front.url, channel, query="?token=opensesame&after=0b8a", user_agent_header="QGIS/3")
    (opened,) = await until(lambda: front.records(logger="gischat.access", channel=channel))
    for _ in range(3):
        await client.say()
    await client.until(text=await client.say())
    await client.connection.close(4321, CANARY)

    assert opened["message"] == (
        f"{HOST} websocket /channel/{channel}/ws?after=0b8a&token=*** opened as connection {opened['connection']}"
    )
    assert (opened["user_agent"], opened["origin"]) == ("QGIS/3", "")
    assert opened["request"]
    (ended,) = await until(lambda: front.records(by="client", connection=opened["connection"]))
    told = {"code": 4321, "reason": "", "channel": channel, "messages": 4, "address": HOST}
    assert ended.items() >= told.items()
    assert ended["bytes"] > 4 * 40
    assert ended["seconds"] >= 0

    # One that is lost ends, too
    (await Client.connect(front.url, channel)).reset()
    (lost,) = await until(lambda: front.records(by="loss", channel=channel))
    assert lost["code"] == 1006


async def test_clients_cannot_forge_log_lines_nor_are_unreadable_requests_quoted(stack: Stack) -> None:
    front = stack.fronts[0]
    forged = "GET /a%0a2026%1b[2J?x=%0a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    await raw(front, forged + "User-Agent: a\x9b2J b\x85c\r\n\r\n")
    await until(lambda: front.records(logger="gischat.access"))
    assert all(line.isprintable() for line in front.new_log().splitlines())
    wrong = (f"Authorization: Bearer {CANARY}\x01", f"{CANARY} x: 1", f"Host: <{CANARY}>", f"Content-Length: {CANARY}")
    for number, header in enumerate(wrong, start=1):
        answer = await raw(front, f"GET / HTTP/1.1\r\n{header}\r\n\r\n")
        assert answer.startswith("HTTP/1.1 400 ")
        await until(lambda number=number: len(front.records(logger="tornado.general")) == number)
    records = front.records(logger="tornado.general")
    assert all(record["message"].startswith("Malformed HTTP message from ") for record in records)
    assert CANARY not in json.dumps(records)


async def test_a_refusal_of_redis_is_logged_without_the_password(
    open_stack: Callable[..., Stack], valkey: Valkey
) -> None:
    # Given a wrong password
    wrong = f"redis://user:opensesame@{HOST}:{valkey.port}/0"
    stack = open_stack(redis_url=wrong, fronts=1, light=0, heavy=0, waits=False)
    (front,) = stack.fronts
    try:
        front.start()

        # Then the log contains Redis' reason at the default level, one line for each of our connections
        records = await until(lambda: front.records(level="WARNING"))
        assert "gischat-" in records[0]["message"]
        assert "password" in records[0]["message"]
        assert "opensesame" not in front.new_log()
    finally:
        stack.kill()
