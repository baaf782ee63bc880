"""The OpenAPI document by itself; tests/web compares it with what the server answers."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from gischat.front import app
from gischat.front.descriptions.openapi import document
from gischat.settings import Settings, load
from tests.support.contract import KEYS, REPLYABLE, required, sample
from tests.support.description import Description

SERVER_ONLY = {"nb_users", "uncompliant"}
HEAD = {"type", "id", "timestamp"}


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load()


@pytest.fixture(scope="module")
def description(settings: Settings) -> Description:
    return Description(document(settings))


@pytest.mark.slow
def test_the_document_is_valid_openapi(description: Description) -> None:
    from openapi_spec_validator import validate  # which takes half a second to load

    validate(description.document)


def test_every_path_of_the_server_is_described_and_no_other(settings: Settings, description: Description) -> None:
    """But for the pages, which are for people."""
    front: Any = SimpleNamespace(settings=settings)
    pages = {"/", "/docs", "/openapi.json", "/asyncapi.json"}
    patterns = {spec.regex.pattern for spec in app.routes(front)}
    served = {_template(pattern) for pattern in patterns if not pattern.startswith(("/web/", "/docs/"))}
    assert served - pages == set(description.document["paths"])


def test_messages_have_the_keys_of_the_contract(description: Description) -> None:
    for type_ in KEYS:
        schema = description.message("Receive", type_)
        assert set(schema["required"]) == KEYS[type_] | HEAD
        may_lack = {"in_reply_to_id"} if type_ in REPLYABLE else set()
        assert set(schema["properties"]) - set(schema["required"]) == may_lack
        assert schema["additionalProperties"] is False
    for type_ in set(KEYS) - SERVER_ONLY:
        assert set(description.message("Send", type_)["required"]) == {"type", *required(type_)}
        assert description.faults("ClientMessage", sample(type_)) == []


WRONG: list[dict[str, Any]] = [
    *(sample("text", **wrong) for wrong in ({"author": "je"}, {"author": "jané"}, {"text": "x" * 256}, {"id": "1"})),
    *(sample("text", timestamp=-1), sample("bbox", xmin="1"), sample("geojson", geojson={"type": "Feature"})),
    *({"type": "text", "author": "jane"}, {"type": "nb_users", "nb_users": 3}, {"author": "jane", "text": "no type"}),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_message_is_none_of_what_clients_may_send(description: Description, wrong: dict[str, Any]) -> None:
    assert description.faults("ClientMessage", wrong)


def test_limits_and_channels_are_those_of_the_settings(settings: Settings) -> None:
    changed = replace(
        settings,
        channels=("Été à la mer",),
        min_author_length=1,
        max_author_length=5,
        max_message_length=10,
        max_image_raw_length=2_000,
        max_geojson_features=7,
    )
    description = Description(document(changed))
    author = description.message("Send", "text")["properties"]["author"]
    assert (author["minLength"], author["maxLength"]) == (1, 5)
    assert description.message("Receive", "text")["properties"]["text"]["maxLength"] == 10
    # The web page reads this one.
    assert description.message("Send", "image")["properties"]["image_data"]["maxLength"] == 2_000
    assert description.component("FeatureCollection")["properties"]["features"]["maxItems"] == 7
    (channel,) = description.document["paths"]["/channel/{channel}/last"]["parameters"]
    assert channel["schema"]["enum"] == ["Été à la mer"]


def test_patterns_are_read_alike_by_every_reader_of_json_schema(description: Description) -> None:
    r"""Python's `\Z` is a plain Z to ECMA 262."""
    nickname = description.message("Send", "newcomer")["properties"]["newcomer"]
    assert nickname["pattern"] == "^[A-Za-z0-9_-]*$"


def _template(pattern: str) -> str:
    r"""A route's pattern as OpenAPI writes it: `/channel/([^/]+)/ws$` is `/channel/{channel}/ws`."""
    plain = pattern.removesuffix("$").replace("\\", "").replace("()", "")
    plain = plain.replace("/hooks/([^/]+)", "/hooks/{key}")
    return re.sub(r"\([^)]+\)", "{id}", re.sub(r"\([^)]+\)", "{channel}", plain, count=1))
