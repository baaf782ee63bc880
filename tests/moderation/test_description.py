"""The answers to moderators match their description in `/openapi.json`."""

import json
import uuid
from typing import Any

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


async def test_answers_to_moderators_are_as_described(channel: str, join: Join, admin: Admin) -> None:
    """tests/proofs/test_openapi.py asks for everything, but finds little that is there."""
    described = Description(await admin.get("/openapi.json"))
    for method, path in OPERATIONS:
        # Given one object of each kind
        jane = await join(channel, nickname="jane")
        await jane.send(**sample("text", id=(id := str(uuid.uuid4())), text=words()))
        await admin.act("POST", "bans", {"nickname": "pest", "channel": channel})
        key = (await admin.act("POST", "keys", {"channels": [PRIVATE_CHANNEL]}))["id"]
        id = key if "keys" in path else "pest" if "bans" in path else id
        await jane.until(type="text")
        # When they are requested
        body = BODIES.get(path) if method == "POST" else None
        concrete = filled(path, channel, id, "jane")
        answer = await admin.ask(method, concrete, body)
        # Then the answers have the described schemas, and most are successes
        assert faults(described, method, path, answer) == []
        assert answer.code in (200, 201) or path == "/admin/announcements"
        # … and so have the answers to unknown requests
        if "{" in path:
            answer = await admin.ask(method, filled(path, "nowhere", id, "nobody"), body)
            assert faults(described, method, path, answer) == []
        # … and the token is described as required
        assert described.document["paths"][path][method.lower()]["security"] == [{"adminToken": []}]
        for ban in ("nobody-else", "pest"):
            await admin.ask("DELETE", f"bans/{ban}")
        await admin.ask("DELETE", below(channel, "freeze"))
        await jane.leave()


def filled(path: str, channel: str, id: str, nickname: str) -> str:
    """A path below /admin, with values for its parameters."""
    end = path.removeprefix("/admin/").removeprefix("channels/{channel}/")
    end = end.replace("{id}", id).replace("{nickname}", nickname)
    return below(channel, end) if "{channel}" in path else end


def faults(described: Description, method: str, path: str, answer: Any) -> list[str]:
    """The error of an answer: a status or a body that the operation does not describe."""
    responses = described.operation(method, path).responses
    if str(answer.code) not in responses:
        return [f"{answer.code} is not described"]
    schema = responses[str(answer.code)]["content"]["application/json"]["schema"]
    return described.faults_by(schema, json.loads(answer.body))
