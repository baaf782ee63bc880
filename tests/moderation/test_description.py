"""The answers to moderators match their description in `/openapi.json`."""

import json
from typing import Any

import pytest

from gischat.front.descriptions.admin_paths import ADMIN_PATHS
from tests.moderation.conftest import PRIVATE_CHANNEL, Join
from tests.support.admin import Admin, below
from tests.support.contract import sample, words
from tests.support.description import Description

OPERATIONS = [(method.upper(), path) for path, item in ADMIN_PATHS.items() for method in item]

BODIES: dict[str, Any] = {
    "/admin/bans": {"nickname": "nobody-else", "seconds": 60, "reason": "A reason."},
    "/admin/channels/{channel}/announcements": {"text": "hello"},
    "/admin/keys": {"channels": [PRIVATE_CHANNEL], "note": "For the test."},
    "/admin/announcements": {"text": "x" * 1000},  # to all channels: refused, so that no other test receives it
}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_answers_to_moderators_are_as_described(
    channel: str, join: Join, admin: Admin, method: str, path: str
) -> None:
    # Given one object of each kind
    jane = await join(channel, nickname="jane")
    await jane.send(**sample("text", id="8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11", text=words()))
    await jane.until(type="text")
    if "bans" in path:
        await admin.act("POST", "bans", {"nickname": "pest", "channel": channel})
    key = await admin.act("POST", "keys", {"channels": [PRIVATE_CHANNEL]}) if "keys" in path else {"id": ""}
    # When they are requested
    described = Description(await admin.get("/openapi.json"))
    body = BODIES.get(path) if method == "POST" else None
    concrete = filled(path, channel, key["id"])
    answer = await admin.ask(method, concrete, body)
    # Then the answers have the described schemas, and most are successes
    assert faults(described, method, path, answer) == []
    assert answer.code in (200, 201) or path == "/admin/announcements"
    # … and so have the answers to unknown and invalid requests
    if "{" in path:
        assert faults(described, method, path, await admin.ask(method, filled(path, "nowhere"), body)) == []
    if body is not None:
        assert faults(described, method, path, await admin.ask(method, concrete, {})) == []
    # … and the token is described as required
    assert described.document["paths"][path][method.lower()]["security"] == [{"adminToken": []}]
    await admin.ask("DELETE", "bans/nobody-else")
    await admin.ask("DELETE", "bans/pest")


def filled(path: str, channel: str, key: str = "") -> str:
    """A path below /admin, with values for its parameters."""
    id = key or ("pest" if "bans" in path else "8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11")
    below_channel = path.replace("/admin/channels/{channel}/", "")
    nickname = "jane" if channel != "nowhere" else "nobody"
    end = below_channel.removeprefix("/admin/").replace("{id}", id).replace("{nickname}", nickname)
    return below(channel, end) if "{channel}" in path else end


def faults(described: Description, method: str, path: str, answer: Any) -> list[str]:
    """The error of an answer: a status or a body that the operation does not describe."""
    responses = described.operation(method, path).responses
    if str(answer.code) not in responses:
        return [f"{answer.code} is not described"]
    schema = responses[str(answer.code)]["content"]["application/json"]["schema"]
    return described.faults_by(schema, json.loads(answer.body))
