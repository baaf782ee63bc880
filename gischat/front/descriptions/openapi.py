"""The programming interface as OpenAPI 3.1, made from the marshmallow schemas that also check what comes in."""

import re
from copy import deepcopy

from apispec import APISpec

from gischat import __version__
from gischat.front.auth.channel_auth import TOKEN_PARAMETER
from gischat.front.descriptions.admin_paths import ADMIN_PATHS, ADMIN_SCHEME, ONE_SUBJECT
from gischat.front.descriptions.answers import JsonObject
from gischat.front.descriptions.messages import Plugin, message_components
from gischat.front.descriptions.paths import PATHS
from gischat.front.handlers import admin_schemas
from gischat.settings import Settings

ABOUT = """\
A chat for people who work with maps. Clients talk over a websocket, `/channel/{channel}/ws`, in JSON objects,
one a text frame. What they may send is the schema `ClientMessage`, what they receive `ServerMessage`.

The websocket is described whole, as AsyncAPI 3, by [asyncapi.json](asyncapi.json). What answers GET answers HEAD. A
path may begin with two slashes.

All of this but `/admin` and `/metrics` is also there below `/k/{key}`, where a key that moderators have made opens
private channels: `/k/{key}/channels` lists the public channels and those of the key. A key that is wrong or has ended
is answered with 401, on the websocket by `uncompliant` and 1008.
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


# What moderators ask for


def document(settings: Settings) -> dict[str, object]:
    """The OpenAPI document of one instance: its channels and limits are the settings'."""
    plugin = Plugin()
    base = settings.base_path
    servers = {"servers": [{"url": base}]} if base else {}
    spec = APISpec("gischat", __version__, "3.1.0", [plugin], info={"description": ABOUT}, **servers)
    assert plugin.converter is not None  # APISpec has given it one
    for name, schema in message_components(plugin.converter, settings).items():
        spec.components.schema(name, schema)
    for name, scheme in TOKEN_SCHEMES.items() if settings.channel_tokens else ():
        spec.components.security_scheme(name, scheme)
    if settings.admin_token:
        spec.components.security_scheme("adminToken", ADMIN_SCHEME)
        # Of these there are lists, which are described by reference.
        for listed in (admin_schemas.ModeratedChannel, admin_schemas.Ban, admin_schemas.Key):
            spec.components.schema(listed.__name__, schema=listed)
        spec.components.schema("BanRequest", ONE_SUBJECT, schema=admin_schemas.ban_request(settings))
        spec.components.schema("KeyRequest", schema=admin_schemas.key_request(settings))
        spec.components.schema("AnnouncementRequest", schema=admin_schemas.announcement_request(settings))
    for path, operations in (PATHS | (ADMIN_PATHS if settings.admin_token else {})).items():
        secured = _secured(path, deepcopy(operations), settings)  # apispec writes into it
        if base and path.startswith(("/admin", "/metrics")):  # which have no base
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
