"""The OpenAPI 3.1 document of the HTTP interface, made from the marshmallow schemas that validate requests."""

import re
from copy import deepcopy

from apispec import APISpec

from gischat import __version__
from gischat.front.auth.channel_auth import TOKEN_PARAMETER
from gischat.front.descriptions.admin_paths import ADMIN_COMPONENTS, ADMIN_PATHS, ADMIN_SCHEME, ONE_SUBJECT
from gischat.front.descriptions.answers import COMPONENTS, JsonObject
from gischat.front.descriptions.messages import Plugin, message_components
from gischat.front.descriptions.paths import PATHS
from gischat.front.handlers import admin_schemas
from gischat.settings import Settings

ABOUT = """\
A chat for people who work with maps. Clients use a websocket, `/channel/{channel}/ws`, with one JSON object per text
frame. The schema `ClientMessage` describes what they may send, `ServerMessage` what they receive.

[asyncapi.json](asyncapi.json) describes the websocket completely, as AsyncAPI 3. All paths that answer GET answer HEAD.
Paths may begin with two slashes.

All paths except `/admin` and `/metrics` also exist below `/k/{key}`, where a moderator's key opens private channels:
`/k/{key}/channels` lists the public channels and those of the key. A wrong or expired key gets 401, or on the websocket
an `uncompliant` and close code 1008.
"""

TOKEN_SCHEMES: dict[str, JsonObject] = {
    "header": {"type": "http", "scheme": "bearer", "description": "The token of a private channel."},
    "query": {
        "type": "apiKey",
        "in": "query",
        "name": TOKEN_PARAMETER,
        "description": "The same, for browsers' websockets.",
    },
}


def document(settings: Settings) -> dict[str, object]:
    """The OpenAPI document of an instance, with the channels and limits of its settings."""
    plugin = Plugin()
    base = settings.base_path
    servers = {"servers": [{"url": base}]} if base else {}
    spec = APISpec("gischat", __version__, "3.1.0", [plugin], info={"description": ABOUT}, **servers)
    assert plugin.converter is not None  # set by APISpec
    of_answers = COMPONENTS | (ADMIN_COMPONENTS if settings.admin_token else {})
    for name, schema in (message_components(plugin.converter, settings) | of_answers).items():
        spec.components.schema(name, deepcopy(schema))  # apispec changes it
    for name, scheme in TOKEN_SCHEMES.items() if settings.channel_tokens else ():
        spec.components.security_scheme(name, scheme)
    if settings.admin_token:
        spec.components.security_scheme("adminToken", ADMIN_SCHEME)
        spec.components.schema("BanRequest", ONE_SUBJECT, schema=admin_schemas.ban_request(settings))
        spec.components.schema("KeyRequest", schema=admin_schemas.key_request(settings))
        spec.components.schema("AnnouncementRequest", schema=admin_schemas.announcement_request(settings))
    for path, operations in (PATHS | (ADMIN_PATHS if settings.admin_token else {})).items():
        secured = _secured(path, deepcopy(operations), settings)
        if base and path.startswith(("/admin", "/metrics")):  # they have no base
            secured = {method: {**operation, "servers": [{"url": "/"}]} for method, operation in secured.items()}
        spec.path(path, operations=secured, parameters=_parameters(path, settings))
    described: dict[str, object] = spec.to_dict()
    return described


def _secured(path: str, operations: JsonObject, settings: Settings) -> JsonObject:
    if not path.startswith("/channel/") or not settings.channel_tokens:
        return operations
    ways: list[JsonObject] = [{}, *({name: []} for name in TOKEN_SCHEMES)]
    return {method: {**operation, "security": ways} for method, operation in operations.items()}


def _parameters(path: str, settings: Settings) -> list[JsonObject]:
    schemas: JsonObject = {name: {"type": "string"} for name in re.findall(r"{(\w+)}", path)}
    if "channel" in schemas:
        schemas["channel"]["enum"] = list(settings.channels)
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name, schema in schemas.items()]
