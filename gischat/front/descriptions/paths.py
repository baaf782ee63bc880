"""The paths of the programming interface, but for moderation."""

from collections.abc import Iterable, Mapping

from gischat.front.descriptions.answers import (
    BANNED,
    CHANNEL,
    FULL,
    NAMES,
    OPERATION,
    PRIVATE,
    SERVER,
    TOO_MANY,
    UNABLE,
    UNKNOWN,
    Alive,
    Faults,
    FaultsOrProblem,
    HookTaken,
    JsonObject,
    Map,
    Problem,
    Ready,
    Rules,
    Status,
    Version,
    answer,
    get,
    json_content,
    list_of,
    reference,
)
from gischat.front.handlers.features import GEOJSON, GEOPACKAGE
from gischat.protocol.types import LIVE_TYPES, PLACED_TYPES

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
    "schema": list_of({"type": "string"}),
    "description": "Types that only those connections get which ask for them: " + ", ".join(sorted(LIVE_TYPES)) + ".",
}

# Of each event in the stream: OpenAPI 3.1 has no words for the whole of one.
EVENT: JsonObject = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "description": "The message's type."},
        "id": {"type": "string", "description": "The message's."},
        "data": {"type": "string", "description": "The message, as JSON: a `ServerMessage`."},
        "retry": {"type": "integer", "description": "After how many milliseconds to come back."},
    },
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
    "schema": list_of({"type": "string", "enum": list(PLACED_TYPES)}) | {"minItems": 1},
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
    "schema": list_of({"type": "number"}) | {"minItems": 4, "maxItems": 4},
    "description": "West, south, east, north (RFC 7946 §5): only features that touch this box.",
}
NO_MESSAGE = {"404": answer("There is no such channel, message, or nothing of it to show so", Problem)}
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
    "/version": get(SERVER, "The version of the server", Version),
    "/rules": get(SERVER, "The server's rules and limits", Rules),
    "/channels": get(SERVER, "The names of the channels", NAMES),
    "/status": get(SERVER, "Whether messages go round, and how many people each channel has", Status),
    "/qfield": {
        "get": {
            "tags": [SERVER],
            "summary": "Redirects to the address from which QField installs the plugin",
            "responses": {"302": {"description": "It is in `Location`"}, **TOO_MANY},
        }
    },
    "/map": get(SERVER, "What the page's map needs", Map),
    "/livez": get(OPERATION, "Whether the process answers", Alive),
    "/readyz": get(
        OPERATION,
        "Whether messages go round and new clients are welcome",
        Ready,
        {"503": answer("They do not, or are not", Ready)},
    ),
    "/metrics": {
        "get": {
            "tags": [OPERATION],
            "summary": "What this host's processes count, for Prometheus",
            "responses": {
                "200": {"description": "Text in one of Prometheus' formats", "content": {"text/plain": {}}},
                "403": answer("Neither from the server's own machine nor with the token", Problem),
            },
        }
    },
    "/channel/{channel}/users": get(
        CHANNEL, "The registered nicknames, sorted case-insensitively", NAMES, BANNED | PRIVATE | UNKNOWN | UNABLE
    ),
    "/channel/{channel}/last": get(
        CHANNEL,
        "The stored messages, oldest first",
        list_of(reference("StoredMessage")),
        BANNED | PRIVATE | UNKNOWN | UNABLE,
    ),
    "/channel/{channel}/features.geojson": _file(
        "What the stored messages show on a map, oldest message first, as GeoJSON in WGS 84",
        {GEOJSON: reference("Places")},
        parameters=[TYPE, SINCE, BOX],
        errors={"422": answer("A parameter is not as described", Faults)},
    ),
    "/channel/{channel}/messages/{id}.json": _file(
        "A stored message, as on the wire", {"application/json": reference("StoredMessage")}, errors=NO_MESSAGE
    ),
    "/channel/{channel}/messages/{id}.geojson": _file(
        "What a stored message shows on a map, in WGS 84", {GEOJSON: reference("Places")}, errors=NO_MESSAGE
    ),
    "/channel/{channel}/messages/{id}.gpkg": _file(
        "The layer, extent or position of a stored message as a GeoPackage 1.3, in its own CRS",
        {GEOPACKAGE: {"type": "string", "format": "binary"}},
        errors={**NO_MESSAGE, "500": answer("It could not be written", Problem)},
    ),
    "/channel/{channel}/text": {
        "put": {
            "tags": [CHANNEL],
            "summary": "Say a text in the channel",
            "requestBody": {"required": True, **json_content(reference("PutText"))},
            "responses": {
                "200": answer("The message as it has been broadcast", reference("ReceiveText")),
                "403": answer(
                    "The channel is frozen; or the address or author is banned, not registered where that is required, "
                    "or of a foreign page",
                    Problem,
                ),
                "409": answer("The sender has used this id for something else", Problem),
                "422": answer("The body is not a text message", Faults),
                "504": answer("Accepted, but not published in time; it may still be", Problem),
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
                    "content": {"text/event-stream": {"schema": EVENT}},
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
                "200": answer("It is published", HookTaken),
                "202": answer("It is accepted, and published soon: not to be sent again", HookTaken),
                "403": answer(
                    "The channel is frozen; or the address, or the hook's name, is banned, or of a foreign page",
                    Problem,
                ),
                "404": answer("There is no hook with this key", Problem),
                "409": answer("This delivery's id has been used for something else", Problem),
                "413": answer("It is too large", Problem),
                "422": answer("There is nothing to say in it, or a file is not what it should be", FaultsOrProblem),
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
                "400": answer("The request does not ask for a websocket", Problem),
                "426": answer("It asks for one of another version", Problem),
                "403": answer("The client's address is banned, or a page of this site may not", Problem),
                **TOO_MANY,
                **FULL,
            },
            "x-websocket": {"sends": reference("ClientMessage"), "receives": reference("ServerMessage")},
        }
    },
}


# Where an instance has private channels: none, or one of these
