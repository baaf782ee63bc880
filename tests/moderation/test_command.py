"""`gischat admin` as run by operators: separate processes, which print tables or JSON."""

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.moderation.conftest import ANOTHER_CHANNEL, PRIVATE_CHANNEL, Join
from tests.support.admin import TOKEN, Ran, gischat_admin
from tests.support.processes import Stack
from tests.support.rest import Rest


@pytest.fixture
def url(stack: Stack) -> str:
    return stack.fronts[0].url


async def run(url: str, directory: Path, *arguments: str, **environment: str) -> Ran:
    ran = await gischat_admin(url, *arguments, directory=directory, **environment)
    assert "Traceback" not in ran.err
    assert TOKEN not in ran.out + ran.err
    return ran


Done = Callable[..., Awaitable[str]]


@pytest.fixture
def done(url: str, tmp_path: Path) -> Done:
    """The output of a command that succeeds."""

    async def done(*arguments: str) -> str:
        ran = await run(url, tmp_path, *arguments)
        assert (ran.status, ran.err) == (0, ""), arguments
        return ran.out

    return done


async def test_a_moderators_day(done: Done, channel: str, join: Join, rest: Rest) -> None:
    """One test for many requests, because each is a process; other tests check their effects on the server."""
    jane = await join(channel, front=1, nickname="jane")
    pest = await join(channel, nickname="pest")
    text = await pest.say(author="pest")
    id = (await jane.until(text=text))["id"]

    # The connections, as a table and as JSON
    table = (await done("connections", "--channel", channel)).splitlines()
    assert re.split(r"  +", table[0]) == ["CONNECTION", "CHANNEL", "NICKNAME", "ADDRESS", "SINCE (UTC)", "FRONT"]
    assert {re.split(r"  +", line)[2] for line in table[1:3]} == {"jane", "pest"}
    assert table[3] == "2 connections on 2 fronts"
    listed = json.loads(await done("connections", "--json", "--channel", channel))
    assert {one["nickname"] for one in listed["connections"]} == {"jane", "pest"}

    # The history, and its deletion
    assert [id, "text", "pest"] == [
        re.split(r"  +", line)[column]
        for line in (await done("messages", channel)).splitlines()[1:]
        for column in (0, 2, 3)
    ]
    assert await done("delete", channel, id) == "1 deleted.\n"
    assert await rest.last(channel) == []
    assert await done("delete", channel, "--all") == "0 deleted.\n"

    # Disconnection and ban
    assert channel in await done("disconnect", "pest", "--channel", channel, "--reason", "Enough.")
    assert await pest.closed() == (1008, "Disconnected by a moderator. Enough.")
    assert await done("ban", "pest", "--for", "2h", "--channel", channel, "--as", "Zoé") != ""
    (row,) = [line for line in (await done("bans")).splitlines() if line.startswith("pest")]
    assert [channel, "Zo?"] == [re.split(r"  +", row)[column] for column in (1, 3)]
    assert await done("unban", "pest") == "Lifted: pest.\n"
    assert json.loads(await done("--json", "ban", "2001:db8::1", "--for", "5m"))["subject"] == "2001:db8::/64"
    assert await done("unban", "2001:db8::/64") == "Lifted: 2001:db8::-64.\n"

    # Freezing, with an announcement
    assert await done("freeze", channel) == f"{channel} is frozen.\n"
    assert "since 20" in next(line for line in (await done("channels")).splitlines() if line.startswith(channel))
    assert await done("announce", "Back at five.", "--channel", channel) == f"Announced in {channel}.\n"
    await jane.until(author="gischat", text="Back at five.")
    assert await done("thaw", channel) == f"{channel} is not frozen.\n"
    assert await done("thaw", channel) == f"{channel} is not frozen, as it was before.\n"


async def test_keys_are_made_listed_and_revoked(done: Done) -> None:
    # Shown once
    told = await done("keys", "make", PRIVATE_CHANNEL, "--for", "2h", "--note", "Équipe Nord")
    (id,) = re.findall(r"^Key (\w{12}) opens Entre nous until 20", told)
    (key,) = re.findall(r"/k/(\w{40})\n", told)
    listed = await done("keys")
    (row,) = [line for line in listed.splitlines() if line.startswith(id)]
    assert re.split(r"  +", row)[1::3] == [PRIVATE_CHANNEL, "Équipe Nord"]
    assert key not in listed
    # By its id, or by the key itself
    assert (await done("keys", "revoke", id)).startswith(f"Revoked: {id}.")
    other = json.loads(await done("keys", "make", PRIVATE_CHANNEL, "--json"))
    assert other["id"] in await done("keys", "revoke", f"https://chat.example.org/k/{other['key']}/")
    assert {id, other["id"]}.isdisjoint(one["id"] for one in json.loads(await done("keys", "--json")))


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["delete", ANOTHER_CHANNEL, "8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11"], 1, "There is no message"),
        (["ban", "300.1.2.3"], 1, "address: Not an address or network"),
        (["ban", "jane", "--for", "long"], 2, "'long' is no duration"),
        (["delete", ANOTHER_CHANNEL], 2, "required"),
        (["keys", "make", ANOTHER_CHANNEL], 1, f"'{ANOTHER_CHANNEL}' is no private channel"),
        (["keys", "revoke", "0123456789ab"], 1, "There is no key"),
        (["--url", "http://127.0.0.1:1", "bans"], 69, "http://127.0.0.1:1 does not answer"),
        (["--url", "chat.example.org", "bans"], 78, "is no address of a server"),
        (["bans", "--token-file", "nowhere"], 78, "the token cannot be read"),
        (["bans", "--env-file", "nowhere"], 78, "there is no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_errors_are_explained(url: str, tmp_path: Path, arguments: list[str], status: int, words: str) -> None:
    ran = await run(url, tmp_path, *arguments)
    assert (ran.status, ran.out) == (status, "")
    assert words in ran.err


async def test_the_token_and_the_url_are_read_from_the_usual_places(url: str, tmp_path: Path) -> None:
    # From a file .env, if the environment lacks them
    (tmp_path / ".env").write_text(f"ADMIN_TOKEN={TOKEN}\nADMIN_URL={url}\n")
    assert (await run("", tmp_path, "bans", ADMIN_TOKEN="")).status == 0
    # From a separate file
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert (await run(url, tmp_path, "bans", "--token-file", "token", ADMIN_TOKEN=TOKEN[::-1])).status == 0
    # From the port of the local front
    assert (await run("", tmp_path / "..", "bans", PORT=url.rpartition(":")[2])).status == 0


async def test_a_missing_or_wrong_token_is_explained(house: Stack, tmp_path: Path) -> None:
    for token, status, words in (("", 78, "there is no ADMIN_TOKEN"), (TOKEN[::-1], 77, "missing or wrong")):
        ran = await run(house.fronts[1].url, tmp_path, "bans", ADMIN_TOKEN=token)
        assert (ran.status, words in ran.err) == (status, True)
