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
from tornado.httputil import HTTPHeaders

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


@pytest.mark.parametrize("query", ["", "?token=", "?after=x"])
async def test_a_missing_token_is_reported(enter: Join, query: str) -> None:
    client = await enter(token=None, query=query)
    reason = f"Channel '{PRIVATE}' is private: a token is needed."
    assert await client.closed() == (1008, reason)
    assert [told["reason"] for told in client.received] == [f"{reason} Ask the people who run it for one."]


@pytest.mark.parametrize("token", [OTHERS, TOKEN[:-1], TOKEN + "x", TOKEN * 100])
async def test_a_wrong_token_grants_nothing_and_is_not_counted(enter: Join, token: str) -> None:
    member = await enter()
    client = await enter(token=None, query=f"?token={quote(token)}")
    reason = f"Channel '{PRIVATE}' is private: this token is not valid."
    assert await client.closed() == (1008, reason)
    assert [told["reason"] for told in client.received] == [f"{reason} Ask the people who run it for one."]
    await member.nothing_before(await member.say())
    await member.count(1)


async def test_an_open_channel_is_open_whatever_token_comes(enter: Join) -> None:
    plain, with_token = await enter("QGIS", None), await enter("QGIS", CANARY)
    await plain.until(text=await with_token.say())


HTTP = [("GET", "users"), ("GET", "last"), ("GET", "features.geojson"), ("PUT", "text")]


@pytest.mark.parametrize(("method", "end"), HTTP)
async def test_http_requires_the_token(rest: Rest, enter: Join, method: str, end: str) -> None:
    member = await enter()
    await member.until(text=await member.say())
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


async def test_the_example_bot_enters_with_its_token(stack: Stack) -> None:
    server = stack.fronts[0].url.replace("http", "ws", 1)
    command = (sys.executable, str(ROOT / "examples" / "bot.py"), server, "Other", "--nickname", "bot")
    ends = []
    for token in (OTHERS, f"{CANARY}-wrong"):
        bot = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "GISCHAT_TOKEN": token}, stdout=PIPE, stderr=DEVNULL
        )
        await bot.communicate()
        ends.append(bot.returncode)
    assert ends == [0, 1]


async def test_a_preflight_request_needs_no_token(rest: Rest) -> None:
    answer = await rest.fetch(channel_path(PRIVATE, "text"), "OPTIONS", Access_Control_Request_Method="PUT")
    assert answer.code == 204
    assert isinstance(answer.headers, HTTPHeaders)
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_private_channels_are_listed_with_their_counts(rest: Rest, enter: Join) -> None:
    member = await enter("Other", OTHERS)
    await member.count(1)
    assert await rest.get("/channels") == ["QGIS", PRIVATE, "Other"]
    status = await rest.get("/status")
    assert {"name": "Other", "nb_connected_users": 1} in status["channels"]


async def test_an_unknown_channel_stays_an_unknown_channel(rest: Rest) -> None:
    assert (await rest.fetch("/channel/nowhere/last", **bearer(TOKEN))).code == 404


async def test_a_wrong_token_is_logged_by_address_without_its_value(stack: Stack, rest: Rest) -> None:
    await rest.fetch(channel_path("Other", "last") + f"?token={CANARY}")
    found = stack.fronts[0].records(message="a wrong token", channel="Other")
    assert {record["address"] for record in found} == {HOST}
    # The fixture checks at the end that no log contains the token.
