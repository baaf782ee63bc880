"""The AsyncAPI document by itself; tests/web compares it with what clients receive."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # it comes without types

from gischat.front import close_status
from gischat.front.auth import channel_auth
from gischat.front.descriptions import openapi
from gischat.front.descriptions.asyncapi import document
from gischat.settings import Settings, load
from tests.support.contract import KEYS

ROOT = Path(__file__).parents[4]
SPECIFICATION = "npm:@asyncapi/specs@6.11.1/schemas/3.0.0-without-$id.json"
SERVER_ONLY = {"nb_users", "uncompliant"}


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load()


@pytest.fixture(scope="module")
def described(settings: Settings) -> Any:
    return json.loads(json.dumps(document(settings)))


@pytest.mark.processes
def test_the_document_is_valid_asyncapi(described: Any) -> None:
    script = f'import schema from "{SPECIFICATION}" with {{type: "json"}}; console.log(JSON.stringify(schema))'
    command = (sys.executable, "deploy/page.py", "deno", "eval", "--no-lock", "--quiet", script)
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    faults = [
        f"{error.json_path}: {error.message[:300]}"
        for error in Draft7Validator(json.loads(ran.stdout)).iter_errors(described)
    ]
    assert faults == []


def test_all_messages_of_the_contract_are_described_in_their_directions(described: Any) -> None:
    of = {
        name: {_type_of(described, message) for message in operation["messages"]}
        for name, operation in described["operations"].items()
    }
    assert of == {"receive": KEYS.keys() - SERVER_ONLY, "send": KEYS.keys()}


def test_its_messages_are_those_of_the_openapi_document(settings: Settings, described: Any) -> None:
    components: Any = openapi.document(settings)["components"]
    schemas = described["components"]["schemas"]
    assert schemas == {
        name: schema for name, schema in json.loads(json.dumps(components["schemas"])).items() if name in schemas
    }


def test_the_address_and_its_parameters_are_those_of_the_settings(settings: Settings) -> None:
    changed = replace(settings, channels=("Été à la mer",), base_path="/chat", channel_tokens=(("Été à la mer", "t"),))
    channel: Any = document(changed)["channels"]["chat"]  # type: ignore[index]
    assert channel["address"] == "/chat/channel/{channel}/ws"
    assert channel["parameters"]["channel"]["enum"] == ["Été à la mer"]
    assert channel["bindings"]["ws"]["query"]["properties"].keys() == {"after", "types", "token"}


def test_every_reason_for_which_the_server_closes_is_there(described: Any) -> None:
    told = {reason for reasons in described["channels"]["chat"]["x-close-codes"].values() for reason in reasons}
    assert {close_status.PING_TIMEOUT.reason, close_status.MEMORY_FULL.reason, "The message is too long."} <= told
    assert {channel_auth.WRONG_KEY, channel_auth.NO_TOKEN.format("…"), close_status.DISCONNECTED} <= told


def _type_of(described: Any, reference: dict[str, str]) -> str:
    """Follows a reference of an operation to its message's payload."""
    found: Any = reference
    while "$ref" in found or "payload" in found:
        path = found.get("$ref") or found["payload"]["$ref"]
        found = described
        for step in path.removeprefix("#/").split("/"):
            found = found[step]
    return str(found["properties"]["type"]["const"])
