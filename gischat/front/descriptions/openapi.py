"""The OpenAPI 3.1 document of the HTTP interface, made from the marshmallow schemas that validate requests."""

import re

from gischat import __version__
from gischat.front.auth.channel_auth import TOKEN_PARAMETER
from gischat.front.descriptions.admin_paths import ADMIN_COMPONENTS, ADMIN_PATHS, ADMIN_SCHEME, ONE_SUBJECT
from gischat.front.descriptions.answers import COMPONENTS, JsonObject
from gischat.front.descriptions.messages import json_schema, message_components
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
    paths, schemas = PATHS, message_components(settings) | COMPONENTS
    schemes = TOKEN_SCHEMES if settings.channel_tokens else {}
    if settings.admin_token:
        paths, schemes = paths | ADMIN_PATHS, schemes | {"adminToken": ADMIN_SCHEME}
        schemas |= ADMIN_COMPONENTS | {
            "BanRequest": json_schema(admin_schemas.ban_request(settings)) | ONE_SUBJECT,
            "KeyRequest": json_schema(admin_schemas.key_request(settings)),
            "AnnouncementRequest": json_schema(admin_schemas.announcement_request(settings)),
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "gischat", "version": __version__, "description": ABOUT},
        **({"servers": [{"url": settings.base_path}]} if settings.base_path else {}),
        "paths": {path: _path(path, operations, settings) for path, operations in paths.items()},
        "components": {"schemas": schemas} | ({"securitySchemes": schemes} if schemes else {}),
    }


def _path(path: str, operations: JsonObject, settings: Settings) -> JsonObject:
    more: JsonObject = {}
    if path.startswith("/channel/") and settings.channel_tokens:
        more["security"] = [{}, *({name: []} for name in TOKEN_SCHEMES)]
    if settings.base_path and path.startswith(("/admin", "/metrics")):  # they have no base
        more["servers"] = [{"url": "/"}]
    described = {method: operation | more for method, operation in operations.items()}
    parameters = _parameters(path, settings)
    return described | ({"parameters": parameters} if parameters else {})


def _parameters(path: str, settings: Settings) -> list[JsonObject]:
    schemas: JsonObject = {name: {"type": "string"} for name in re.findall(r"{(\w+)}", path)}
    if "channel" in schemas:
        schemas["channel"]["enum"] = list(settings.channels)
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name, schema in schemas.items()]
