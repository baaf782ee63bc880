"""The programming interface as OpenAPI 3.1, made from the marshmallow schemas that also check what comes in.

The websocket's messages stand among the component schemas, each in both directions: `Send…` is what a client
may send, `Receive…` what clients get: completed, and with no other key.
"""

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields, validate

from gischat import __version__
from gischat.front.auth.channel_auth import TOKEN_PARAMETER
from gischat.front.handlers import admin_schemas
from gischat.front.handlers.features import GEOJSON, GEOPACKAGE
from gischat.protocol import places
from gischat.protocol import schemas as protocol
from gischat.protocol.parsing import NULL_IS_ABSENT
from gischat.protocol.types import LIVE_TYPES, PLACED_TYPES, TYPES
from gischat.protocol.wording import VISIBLE
from gischat.settings import Settings

JsonObject = dict[str, Any]

ABOUT = """\
A chat for people who work with maps. Clients talk over a websocket, `/channel/{channel}/ws`, in JSON objects,
one a text frame. What they may send is the schema `ClientMessage`, what they receive `ServerMessage`.

The websocket is described whole, as AsyncAPI 3, by [asyncapi.json](asyncapi.json). What answers GET answers HEAD. A
path may begin with two slashes.

All of this but `/admin` and `/metrics` is also there below `/k/{key}`, where a key that moderators have made opens
private channels: `/k/{key}/channels` lists the public channels and those of the key. A key that is wrong or has ended
is answered with 401, on the websocket by `uncompliant` and 1008.
"""

WEBSOCKET = """\
Opens the channel's websocket. On joining, a client receives the stored messages, oldest first, and `nb_users`.
What it sends has the shapes of `ClientMessage` (unknown keys are dropped), what it receives exactly those of
`ServerMessage`. A message that breaks the contract is answered by `uncompliant` and costs nothing else; a frame
that is too large ends the connection with 1009. Too many messages in a minute are answered by `uncompliant`, which says
for how long to wait; who goes on is closed with 1008. A channel that does not exist, or is private and was asked for
without its token, is accepted and closed with 1008.
"""

EVENTS = """\
For whoever only reads: a dashboard, `curl -N`. An event's type is the message's, its data the message as on the
websocket (`ServerMessage`), its id the message's, but for `nb_users` and `uncompliant`. Readers count among the
connections and not among the users. The stream ends when the server restarts; browsers come back by themselves.
"""

HOOKS = """\
Takes `{"text": …, "username": …}` as Slack and Mattermost do, with attachments and blocks, and what GitHub, Grafana,
Alertmanager and ODK Central send. Markdown becomes plain text; a long text becomes up to four messages.
"""


# What is answered over HTTP: exactly the keys that are named.


Answer = admin_schemas.Strict


class Version(Answer):
    version = fields.String(required=True)


class Rules(Answer):
    rules = fields.String(required=True)
    main_lang = fields.String(required=True, metadata={"description": "The server's main language."})
    min_author_length = fields.Integer(required=True)
    max_author_length = fields.Integer(required=True)
    max_message_length = fields.Integer(required=True, metadata={"description": "In characters."})
    max_image_size = fields.Integer(required=True, metadata={"description": "The longest side, in pixels."})
    max_geojson_features = fields.Integer(required=True)


class ChannelStatus(Answer):
    name = fields.String(required=True)
    nb_connected_users = fields.Integer(required=True)


class Status(Answer):
    status = fields.String(required=True, validate=validate.OneOf(["ok", "degraded"]))
    healthy = fields.Boolean(required=True, metadata={"description": "Whether messages go round."})
    channels = fields.List(fields.Nested(ChannelStatus), required=True)


class Map(Answer):
    code = fields.String(required=True, allow_none=True, metadata={"description": "The path of the map's script."})
    tiles = fields.String(required=True, allow_none=True, metadata={"description": "The operator's tiles, as XYZ."})
    attribution = fields.String(required=True, metadata={"description": "Whose tiles they are."})


class Alive(Answer):
    alive = fields.Boolean(required=True)


class Ready(Answer):
    ready = fields.Boolean(required=True)
    reasons = fields.List(fields.String(), required=True, metadata={"description": "Why it is not ready."})


class Problem(Answer):
    detail = fields.String(required=True, metadata={"description": "What is wrong, in words."})


class Fault(Answer):
    loc = fields.List(fields.String(), required=True, metadata={"description": "`body`, and the field."})
    msg = fields.String(required=True)
    type = fields.String(required=True)


class Faults(Answer):
    detail = fields.List(fields.Nested(Fault), required=True, validate=validate.Length(min=1))


class HookTaken(Answer):
    ok = fields.Boolean(required=True)
    ids = fields.List(fields.String(), required=True, metadata={"description": "Of the messages, in their order."})


class FaultsOrProblem(Answer):
    detail = fields.Raw(required=True, metadata={"description": "What is wrong, in words, or fault by fault."})


def _reference(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(items: JsonObject) -> JsonObject:
    return {"type": "array", "items": items}


def _json(schema: type[Schema] | JsonObject) -> JsonObject:
    return {"content": {"application/json": {"schema": schema}}}


def _answer(description: str, schema: type[Schema] | JsonObject) -> JsonObject:
    return {"description": description, **_json(schema)}


def _get(tag: str, summary: str, schema: type[Schema] | JsonObject, errors: JsonObject | None = None) -> JsonObject:
    limits = {} if tag == OPERATION else TOO_MANY
    responses = {"200": _answer(summary, schema), **(errors or {}), **limits}
    return {"get": {"tags": [tag], "summary": summary, "responses": responses}}


SERVER, CHANNEL, OPERATION = "The server", "A channel", "Operation"
NAMES = _list_of({"type": "string"})
RETRY_AFTER = {"headers": {"Retry-After": {"description": "In seconds.", "schema": {"type": "integer"}}}}
TOO_MANY = {"429": _answer("Too many requests or connections from one address", Problem) | RETRY_AFTER}
FULL = {"503": _answer("The server has as many connections as it may have", Problem) | RETRY_AFTER}
UNKNOWN = {"404": _answer("The channel does not exist", Problem)}
PRIVATE = {"401": _answer("The channel is private, and no token of it was shown", Problem)}
UNABLE = {"503": _answer("Not possible just now; nothing has been done", Problem)}
BANNED = {"403": _answer("The client's address, or the author's nickname, is banned", Problem)}

# Of a websocket's handshake (RFC 6455 §4.1)
HANDSHAKE = [
    {"name": name, "in": "header", "required": True, "schema": {"type": "string", **value}}
    for name, value in {
        "Connection": {"const": "Upgrade"},
        "Upgrade": {"const": "websocket"},
        "Sec-WebSocket-Version": {"const": "13"},
        "Sec-WebSocket-Key": {"pattern": "^[A-Za-z0-9+/]{22}==$"},
    }.items()
]
AFTER = {
    "name": "after",
    "in": "query",
    "schema": {"type": "string"},
    "description": "The id of the last message that a client has which comes back: instead of the history it gets what "
    "was published since. Where that is no longer known, an `uncompliant` says so, and the history follows.",
}

ASKED = {
    "name": "types",
    "in": "query",
    "style": "form",
    "explode": False,
    "schema": _list_of({"type": "string"}),
    "description": "Types that only those connections get which ask for them: " + ", ".join(sorted(LIVE_TYPES)) + ".",
}

LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The same, as browsers say it when they come back; it counts before `after`.",
}
POSTED: JsonObject = {"type": "object", "examples": [{"text": "The build is done.", "username": "ci"}]}
POSTED_FORM: JsonObject = {
    "type": "object",
    "properties": {"payload": {"type": "string", "description": "The same as JSON."}, "text": {"type": "string"}},
}
POSTED_FILES: JsonObject = {
    "type": "object",
    "description": "Pictures, and GeoJSON in WGS 84, under any names; at most four.",
    "properties": {"text": {"type": "string"}, "file": {"type": "string", "format": "binary"}},
}

TYPE = {
    "name": "type",
    "in": "query",
    "style": "form",
    "explode": False,
    "schema": _list_of({"type": "string", "enum": list(PLACED_TYPES)}) | {"minItems": 1},
    "description": "Of these types alone.",
}
SINCE = {
    "name": "since",
    "in": "query",
    "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999_999},
    "description": "Of messages with this timestamp or a later one alone.",
}
BOX = {
    "name": "bbox",
    "in": "query",
    "style": "form",
    "explode": False,
    "schema": _list_of({"type": "number"}) | {"minItems": 4, "maxItems": 4},
    "description": "West, south, east, north (RFC 7946 §5): only features that touch this box.",
}
NO_MESSAGE = {"404": _answer("There is no such channel, message, or nothing of it to show so", Problem)}
NOT_MODIFIED = {"304": {"description": "It is what `If-None-Match` names"}}


def _file(
    summary: str, content: Mapping[str, JsonObject], *, errors: JsonObject, parameters: Iterable[JsonObject] = ()
) -> JsonObject:
    """A file of a channel, in one or another format."""
    found = {"description": summary, "content": {kind: {"schema": schema} for kind, schema in content.items()}}
    responses = {"200": found, **NOT_MODIFIED, **BANNED, **PRIVATE, **UNKNOWN, **UNABLE, **errors, **TOO_MANY}
    operation = {"tags": [CHANNEL], "summary": summary, "responses": responses}
    return {"get": operation | ({"parameters": list(parameters)} if parameters else {})}


PATHS: dict[str, JsonObject] = {
    "/version": _get(SERVER, "The version of the server", Version),
    "/rules": _get(SERVER, "The server's rules and limits", Rules),
    "/channels": _get(SERVER, "The names of the channels", NAMES),
    "/status": _get(SERVER, "Whether messages go round, and how many people each channel has", Status),
    "/qfield": {
        "get": {
            "tags": [SERVER],
            "summary": "Redirects to the address from which QField installs the plugin",
            "responses": {"302": {"description": "It is in `Location`"}, **TOO_MANY},
        }
    },
    "/map": _get(SERVER, "What the page's map needs", Map),
    "/livez": _get(OPERATION, "Whether the process answers", Alive),
    "/readyz": _get(
        OPERATION,
        "Whether messages go round and new clients are welcome",
        Ready,
        {"503": _answer("They do not, or are not", Ready)},
    ),
    "/metrics": {
        "get": {
            "tags": [OPERATION],
            "summary": "What this host's processes count, for Prometheus",
            "responses": {
                "200": {"description": "Text in one of Prometheus' formats", "content": {"text/plain": {}}},
                "403": _answer("Neither from the server's own machine nor with the token", Problem),
            },
        }
    },
    "/channel/{channel}/users": _get(
        CHANNEL, "The registered nicknames, sorted case-insensitively", NAMES, BANNED | PRIVATE | UNKNOWN | UNABLE
    ),
    "/channel/{channel}/last": _get(
        CHANNEL,
        "The stored messages, oldest first",
        _list_of(_reference("StoredMessage")),
        BANNED | PRIVATE | UNKNOWN | UNABLE,
    ),
    "/channel/{channel}/features.geojson": _file(
        "What the stored messages show on a map, oldest message first, as GeoJSON in WGS 84",
        {GEOJSON: _reference("Places")},
        parameters=[TYPE, SINCE, BOX],
        errors={"422": _answer("A parameter is not as described", Faults)},
    ),
    "/channel/{channel}/messages/{id}.json": _file(
        "A stored message, as on the wire", {"application/json": _reference("StoredMessage")}, errors=NO_MESSAGE
    ),
    "/channel/{channel}/messages/{id}.geojson": _file(
        "What a stored message shows on a map, in WGS 84", {GEOJSON: _reference("Places")}, errors=NO_MESSAGE
    ),
    "/channel/{channel}/messages/{id}.gpkg": _file(
        "The layer, extent or position of a stored message as a GeoPackage 1.3, in its own CRS",
        {GEOPACKAGE: {"type": "string", "format": "binary"}},
        errors={**NO_MESSAGE, "500": _answer("It could not be written", Problem)},
    ),
    "/channel/{channel}/text": {
        "put": {
            "tags": [CHANNEL],
            "summary": "Say a text in the channel",
            "requestBody": {"required": True, **_json(_reference("PutText"))},
            "responses": {
                "200": _answer("The message as it has been broadcast", _reference("ReceiveText")),
                "403": _answer(
                    "The channel is frozen; or the address or author is banned, not registered where that is required, "
                    "or of a foreign page",
                    Problem,
                ),
                "409": _answer("The sender has used this id for something else", Problem),
                "422": _answer("The body is not a text message", Faults),
                "504": _answer("Accepted, but not published in time; it may still be", Problem),
                **PRIVATE,
                **UNKNOWN,
                **TOO_MANY,
                **UNABLE,
            },
        }
    },
    "/channel/{channel}/events": {
        "get": {
            "tags": [CHANNEL],
            "summary": "The channel's messages as server-sent events",
            "description": EVENTS,
            "parameters": [AFTER, LAST_EVENT_ID],
            "responses": {
                "200": {
                    "description": "The stored messages, then what is said from now on",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                },
                **BANNED,
                **PRIVATE,
                **UNKNOWN,
                **TOO_MANY,
                **FULL,
            },
        }
    },
    "/hooks/{key}": {
        "post": {
            "tags": [CHANNEL],
            "summary": "Say something in a channel, for another program",
            "description": HOOKS,
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": POSTED},
                    "application/x-www-form-urlencoded": {"schema": POSTED_FORM},
                    "multipart/form-data": {"schema": POSTED_FILES},
                    "text/plain": {"schema": {"type": "string"}},
                },
            },
            "responses": {
                "200": _answer("It is published", HookTaken),
                "202": _answer("It is accepted, and published soon: not to be sent again", HookTaken),
                "403": _answer(
                    "The channel is frozen; or the address, or the hook's name, is banned, or of a foreign page",
                    Problem,
                ),
                "404": _answer("There is no hook with this key", Problem),
                "409": _answer("This delivery's id has been used for something else", Problem),
                "413": _answer("It is too large", Problem),
                "422": _answer("There is nothing to say in it, or a file is not what it should be", FaultsOrProblem),
                **TOO_MANY,
                **UNABLE,
            },
        }
    },
    "/channel/{channel}/ws": {
        "get": {
            "tags": [CHANNEL],
            "summary": "The channel's websocket",
            "description": WEBSOCKET,
            "parameters": [*HANDSHAKE, AFTER, ASKED],
            "responses": {
                "101": {"description": "The connection is a websocket from now on"},
                "400": _answer("The request does not ask for a websocket", Problem),
                "426": _answer("It asks for one of another version", Problem),
                "403": _answer("The client's address is banned, or a page of this site may not", Problem),
                **TOO_MANY,
                **FULL,
            },
            "x-websocket": {"sends": _reference("ClientMessage"), "receives": _reference("ServerMessage")},
        }
    },
}


# Where an instance has private channels: none, or one of these
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


MODERATION = "Moderation"
SECURITY: list[JsonObject] = [{"adminToken": []}]
ADMIN_SCHEME: JsonObject = {"type": "http", "scheme": "bearer", "description": "The instance's `ADMIN_TOKEN`."}
TURNED_AWAY = {
    "401": _answer("The token is missing or wrong", Problem),
    "429": _answer("Too many wrong tokens came from this address; see Retry-After", Problem),
}
PARTLY = {"503": _answer("Not possible just now, or not in every channel: the text says where it was done", Problem)}
UNFIT = {"422": _answer("The body is not as described", Faults)}
ONLY_IN = {"name": "channel", "in": "query", "schema": {"type": "string"}, "description": "In this channel alone."}
REASON = {"name": "reason", "in": "query", "schema": {"type": "string"}, "description": "What the user is told."}


ONE_SUBJECT = {"oneOf": [{"required": ["address"]}, {"required": ["nickname"]}]}


def _moderates(
    summary: str,
    schema: type[Schema] | JsonObject,
    *,
    errors: JsonObject | None = None,
    asks: str | None = None,
    query: Iterable[JsonObject] = (),
    status: str = "200",
) -> JsonObject:
    """An operation for moderators alone."""
    operation: JsonObject = {
        "tags": [MODERATION],
        "summary": summary,
        "security": SECURITY,
        "responses": {status: _answer(summary, schema), **TURNED_AWAY, **PARTLY, **(errors or {})},
    }
    if asks is not None:
        operation |= {"requestBody": {"required": True, **_json(_reference(asks))}}
        operation["responses"] |= UNFIT
    if query:
        operation |= {"parameters": list(query)}
    return operation


def _unknown(what: str) -> JsonObject:
    return {"404": _answer(what, Problem)}


NO_USER = _unknown("Nobody is registered under this nickname, or there is no such channel")

ADMIN_PATHS: dict[str, JsonObject] = {
    "/admin/channels": {
        "get": _moderates("The channels, and which are frozen", _list_of(_reference("ModeratedChannel")))
    },
    "/admin/channels/{channel}/messages": {
        "get": _moderates("The stored messages, oldest first", _list_of(_reference("StoredMessage")), errors=UNKNOWN),
        "delete": _moderates("Delete all messages said so far", admin_schemas.Deleted, errors=UNKNOWN),
    },
    "/admin/channels/{channel}/messages/{id}": {
        "delete": _moderates(
            "Delete a message: nobody who comes, or comes back, is told it",
            admin_schemas.Deleted,
            errors=_unknown("There is no such message, or channel"),
        )
    },
    "/admin/channels/{channel}/freeze": {
        "put": _moderates("Freeze: it can be read, but nobody can write", admin_schemas.Frozen, errors=UNKNOWN),
        "delete": _moderates("Thaw", admin_schemas.Frozen, errors=UNKNOWN),
    },
    "/admin/channels/{channel}/announcements": {
        "post": _moderates(
            "Say a text as the instance", admin_schemas.Announced, asks="AnnouncementRequest", errors=UNKNOWN
        )
    },
    "/admin/announcements": {
        "post": _moderates(
            "Say a text as the instance, in every channel", admin_schemas.Announced, asks="AnnouncementRequest"
        )
    },
    "/admin/channels/{channel}/users/{nickname}": {
        "delete": _moderates(
            "Disconnect whoever is registered under a nickname",
            admin_schemas.Disconnected,
            errors=NO_USER,
            query=[REASON],
        )
    },
    "/admin/users/{nickname}": {
        "delete": _moderates(
            "Disconnect whoever is registered under a nickname, in every channel",
            admin_schemas.Disconnected,
            errors=NO_USER,
            query=[REASON],
        )
    },
    "/admin/connections": {
        "get": _moderates("Who is connected, on all fronts", admin_schemas.Connections, errors=UNKNOWN, query=[ONLY_IN])
    },
    "/admin/bans": {
        "get": _moderates("The bans that hold", _list_of(_reference("Ban"))),
        "post": _moderates(
            "Ban an address, a network or a nickname for a time",
            admin_schemas.Ban,
            asks="BanRequest",
            errors={"409": _answer("There are too many bans", Problem)},
            status="201",
        ),
    },
    "/admin/bans/{id}": {
        "delete": _moderates(
            "Lift a ban",
            admin_schemas.UnbannedSchema,
            errors=_unknown("There is no such ban, or channel"),
            query=[ONLY_IN],
        )
    },
    "/admin/keys": {
        "get": _moderates("The keys that hold", _list_of(_reference("Key"))),
        "post": _moderates(
            "Make a key that opens private channels",
            admin_schemas.NewKey,
            asks="KeyRequest",
            errors={"409": _answer("There are too many keys", Problem)},
            status="201",
        ),
    },
    "/admin/keys/{id}": {
        "delete": _moderates(
            "Revoke a key, and disconnect who came by it",
            admin_schemas.RevokedKey,
            errors=_unknown("There is no such key"),
        )
    },
}


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


# The messages of the websocket


class Converter(OpenAPIConverter):
    """apispec's, which also knows the fields that messages are made of."""

    OWN: Mapping[type[fields.Field[Any]], JsonObject] = {
        protocol.Identifier: {
            "type": "string",
            "format": "uuid",
            "description": "Sent in braces, as a URN or without hyphens, it becomes the usual form.",
        },
        protocol.Timestamp: {
            "type": "integer",
            "description": "Seconds since the epoch.",
            "minimum": 0,
            "maximum": protocol.LAST_SECOND,
            "examples": [1_700_000_000],
        },
        protocol.Document: _reference("FeatureCollection"),
    }

    def field2property(self, field: fields.Field[Any]) -> JsonObject:
        if isinstance(field, fields.Constant):
            return {"type": "string", "const": field.constant}
        if own := self.OWN.get(type(field)):
            return own
        if isinstance(field, protocol.Number):
            bounds = zip(("minimum", "maximum"), field.bounds or (), strict=bool(field.bounds))
            return {"type": "number", **dict(bounds)}
        described: JsonObject = super().field2property(field)
        if isinstance(field, protocol.Text):
            described |= _text(field)
        if "pattern" in described:
            described["pattern"] = _ecma(described["pattern"])
        return described | dict(field.metadata.get("schema", {}))


def _text(field: protocol.Text) -> JsonObject:
    """A text's limits, and what becomes of it."""
    described: JsonObject = {} if field.longest is None else {"maxLength": field.longest}
    match field:
        case protocol.Nickname():
            described |= {"minLength": field.shortest, "pattern": field.FORM.pattern}
        case protocol.VisibleText():
            described |= {"minLength": 1, "pattern": VISIBLE, "description": "Not of blanks alone."}
        case protocol.FileName():
            described |= {"description": "What no file name may hold (`/`, `..`, a leading dot, …) becomes `_`."}
        case protocol.IconName():
            described |= {"description": "Of an icon of QGIS; what leads elsewhere (`..`, `:`, …) becomes `_`."}
    return described


PYTHON_END = r"\Z"


def _ecma(pattern: str) -> str:
    r"""A pattern as JSON Schema reads it (ECMA 262): it anchors nothing itself, and its `$` is Python's `\Z`."""
    return f"^{pattern.removesuffix(PYTHON_END)}$" if pattern.endswith(PYTHON_END) else pattern


class Plugin(MarshmallowPlugin):
    Converter = Converter


def message_components(converter: OpenAPIConverter, settings: Settings) -> dict[str, JsonObject]:
    """The schemas of the websocket's messages and of what they hold, by name: `SendText`, `ReceiveText`, …"""
    sent = _described(converter, protocol.schemas(settings))
    received = sent | _described(converter, protocol.server_schemas(settings))
    components = {
        "ClientMessage": _one_of("Send", sent),
        "ServerMessage": _one_of("Receive", received),
        "StoredMessage": _one_of("Receive", [type_ for type_ in sent if TYPES[type_].stored]),
        "PutText": _as_sent(sent["text"]) | {"examples": [{"author": "jane", "text": "Hello"}]},
        **{_name("Send", type_): _as_sent(_requiring(schema, {"type"})) for type_, schema in sent.items()},
        **{_name("Receive", type_): _complete(schema) for type_, schema in received.items()},
        "FeatureCollection": _feature_collection(settings),
        "Places": PLACES,
    }
    # Swagger UI calls the alternatives of a schema by their titles.
    return {name: {"title": name, **schema} for name, schema in components.items()}


def _described(converter: OpenAPIConverter, schemas: Mapping[str, Schema]) -> dict[str, JsonObject]:
    described = {}
    for type_, schema in schemas.items():
        fields_: JsonObject = converter.schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        described[type_] = {**fields_, "description": TYPES[type_].description}
    return described


def _requiring(schema: JsonObject, names: set[str]) -> JsonObject:
    return {**schema, "required": sorted({*schema.get("required", ()), *names})}


def _as_sent(schema: JsonObject) -> JsonObject:
    """What clients may send: a null in some fields, and keys that nobody knows."""
    properties = {
        name: field | {"type": [field["type"], "null"]} if name in NULL_IS_ABSENT else field
        for name, field in schema["properties"].items()
    }
    return {**schema, "properties": properties, "additionalProperties": True}


def _complete(schema: JsonObject) -> JsonObject:
    """What clients receive: every key is there, and no other. Strict clients rely on it."""
    always = set(schema["properties"]) - {"in_reply_to_id"}
    return {**_requiring(schema, always), "additionalProperties": False}


def _one_of(direction: str, types: Iterable[str]) -> JsonObject:
    references = {type_: _reference(_name(direction, type_)) for type_ in types}
    mapping = {type_: reference["$ref"] for type_, reference in references.items()}
    return {"oneOf": list(references.values()), "discriminator": {"propertyName": "type", "mapping": mapping}}


def _name(direction: str, type_: str) -> str:
    return direction + "".join(word.capitalize() for word in type_.split("_"))


# Of what messages show on a map

_OF_MESSAGES: JsonObject = {
    "id": {"type": "string", "description": "The message's."},
    "type": {"type": "string", "enum": list(PLACED_TYPES)},
    "author": {"type": "string"},
    "timestamp": {"type": "integer"},
    "layer_name": {"type": ["string", "null"]},
    "crs_authid": {"type": "string"},
}
PLACES: JsonObject = {
    "type": "object",
    "description": "RFC 7946 §3.3, in WGS 84. A feature's id is its message's; of a layer, with the feature's number "
    "behind a dot. A layer's features have their own properties beside those of the message. Where a layer has one of "
    f"the same name, the message's bears the prefix `{places.PREFIX}` in all features of that layer.",
    "required": ["type", "features"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "const": "FeatureCollection"},
        "features": _list_of(
            {
                "type": "object",
                "required": ["type", "id", "geometry", "properties"],
                "additionalProperties": False,
                "properties": {
                    "type": {"type": "string", "const": "Feature"},
                    "id": {"type": "string"},
                    "geometry": {"type": ["object", "null"], "required": ["type"]},
                    "properties": {
                        "type": "object",
                        "allOf": [
                            {
                                "anyOf": [
                                    {"required": [name], "properties": {name: described}},
                                    {"required": [prefixed], "properties": {prefixed: described}},
                                ]
                            }
                            for name, described in _OF_MESSAGES.items()
                            for prefixed in [places.PREFIX + name]
                        ],
                    },
                },
            }
        ),
    },
}


def _feature_collection(settings: Settings) -> JsonObject:
    features = {"type": "array", "items": {"type": "object"}, "maxItems": settings.max_geojson_features}
    return {
        "type": "object",
        "description": "RFC 7946 §3.3.",
        "required": ["type", "features"],
        "properties": {"type": {"type": "string", "const": "FeatureCollection"}, "features": features},
    }
