"""Private channels: without a token nobody can read, write or list users."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import StackFactory
from tests.support.client import Client
from tests.support.contract import CANARY, sample
from tests.support.processes import HOST, ROOT, Stack
from tests.support.rest import Rest, channel_path
from tests.wire.conftest import Join

PRIVATE = "Été: à la mer"
TOKEN = f"{CANARY}:+/é"  # with all kinds of characters; no log may contain it
OTHERS = f"{CANARY}-other"


@pytest.fixture(scope="module")
def stack(open_stack: StackFactory) -> Iterator[Stack]:
    """Two fronts with an open channel and two private ones."""
    tokens = f"{PRIVATE}:{TOKEN}, {PRIVATE}:{CANARY}-second\nOther:{OTHERS}"
    channels = f"QGIS,{PRIVATE},Other"
    with open_stack(fronts=2, channels=channels, channel_tokens=tokens, max_stored_messages=0) as stack:
        yield stack
    for process in stack.processes:
        assert CANARY not in process.whole_log()


@pytest.fixture
def enter(join: Join) -> Join:
    """Joins clients with or without a bearer token."""

    async def enter(channel: str = PRIVATE, token: str | None = TOKEN, **options: Any) -> Client:
        return await join(channel, additional_headers={} if token is None else bearer(token), **options)

    return enter


def bearer(token: str) -> dict[str, str]:
    """The header; libraries send each character as one byte."""
    return {"Authorization": "Bearer " + token.encode().decode("latin-1")}


async def test_a_token_grants_access_on_every_front(enter: Join) -> None:
    by_header, by_query = await enter(), await enter(token=None, front=1, query=f"?token={CANARY}-second")
    await by_query.until(text=await by_header.say())
    await by_header.until(text=await by_query.say())
    # An open channel is open whatever token comes
    plain, with_token = await enter("QGIS", None), await enter("QGIS", CANARY)
    await plain.until(text=await with_token.say())


MISSING, WRONG = "a token is needed", "this token is not valid"
WRONG_TOKENS = [OTHERS, TOKEN[:-1], TOKEN + "x", f"{TOKEN},{TOKEN}", TOKEN * 100]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        *((query, MISSING) for query in ("", "?token=", "?after=x")),
        *((f"?token={quote(token)}", WRONG) for token in WRONG_TOKENS),
    ],
)
async def test_without_a_right_token_clients_are_told_and_closed(enter: Join, query: str, told: str) -> None:
    member = await enter()
    client = await enter(token=None, query=query)
    reason = f"Channel '{PRIVATE}' is private: {told}."
    assert await client.closed() == (1008, reason)
    assert [message["reason"] for message in client.received] == [f"{reason} Ask the people who run it for one."]
    await member.nothing_before(await member.say())
    await member.count(1)


async def test_http_requires_the_token(rest: Rest, enter: Join) -> None:
    member = await enter()
    await member.until(text=await member.say())
    for method, end in (("GET", "users"), ("GET", "last"), ("GET", "features.geojson"), ("PUT", "text")):
        body = json.dumps(sample("text")) if method == "PUT" else None
        path = channel_path(PRIVATE, end)

        without = await rest.fetch(path, method, body)
        wrong = await rest.fetch(path, method, body, **bearer(OTHERS))
        right = await rest.fetch(path, method, body, **bearer(TOKEN))
        by_query = await rest.fetch(f"{path}?token={CANARY}-second", method, body)

        assert [answer.code for answer in (without, wrong, right, by_query)] == [401, 401, 200, 200]
        assert without.headers["WWW-Authenticate"] == 'Bearer realm="gischat"'
        assert wrong.headers["WWW-Authenticate"] == 'Bearer realm="gischat", error="invalid_token"'
        assert json.loads(without.body) == {"detail": f"Channel '{PRIVATE}' is private: a token is needed."}
        assert CANARY not in wrong.body.decode()
    assert (await rest.fetch("/channel/nowhere/last", **bearer(TOKEN))).code == 404
    # A preflight request needs none
    answer = await rest.fetch(channel_path(PRIVATE, "text"), "OPTIONS", Access_Control_Request_Method="PUT")
    assert (answer.code, "Access-Control-Allow-Origin" in answer.headers) == (204, False)


async def test_the_example_bot_enters_with_its_token(stack: Stack) -> None:
    server = stack.fronts[0].url.replace("http", "ws", 1)
    command = (sys.executable, str(ROOT / "examples" / "bot.py"), server, "Other", "--nickname", "bot")
    for token, status in ((OTHERS, 0), (f"{CANARY}-wrong", 1)):
        environment = {**os.environ, "GISCHAT_TOKEN": token}
        bot = await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=DEVNULL)
        await bot.communicate()
        assert bot.returncode == status


async def test_private_channels_are_listed_with_their_counts(rest: Rest, enter: Join) -> None:
    member = await enter("Other", OTHERS)
    await member.count(1)
    assert await rest.get("/channels") == ["QGIS", PRIVATE, "Other"]
    assert {"name": "Other", "nb_connected_users": 1} in (await rest.get("/status"))["channels"]


async def test_a_wrong_token_is_logged_by_address_without_its_value(stack: Stack, rest: Rest) -> None:
    await rest.fetch(channel_path("Other", "last") + f"?token={CANARY}")
    found = stack.fronts[0].records(message="a wrong token", channel="Other")
    assert {record["address"] for record in found} == {HOST}
    # The fixture checks at the end that no log contains the token.
