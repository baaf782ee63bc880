"""The paths of the HTTP interface, except for moderation."""

from collections.abc import Mapping
from typing import Any

from gischat.front.descriptions.answers import (
    BANNED,
    CHANNEL,
    FULL,
    NAMES,
    OPERATION,
    PRIVATE,
    SERVER,
    TEXT,
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
    operation,
    parameter,
    reference,
)
from gischat.front.handlers.features import GEOJSON, GEOPACKAGE
from gischat.protocol.types import LIVE_TYPES, PLACED_TYPES

WEBSOCKET = """\
Opens the channel's websocket. On joining, a client receives the stored messages, oldest first, and `nb_users`.
It sends messages as in `ClientMessage` (unknown keys are dropped), and receives messages exactly as in `ServerMessage`.
An invalid message is answered by an `uncompliant`, and the connection stays open; a frame that is much too large closes
the connection with 1009. Messages above the rate limit are answered by an `uncompliant` with the time to wait; a client
that continues is closed with 1008. The websocket of an unknown channel, or of a private one without its token, is
accepted and then closed with 1008.
"""

EVENTS = """\
For clients that only read, such as a dashboard or `curl -N`. An event has the message's type, the message as on the
websocket (`ServerMessage`) as its data, and the message's id, except for `nb_users` and `uncompliant`. Readers count as
connections, but not as users. The stream ends when the server restarts; browsers reconnect automatically.
"""

HOOKS = """\
Accepts `{"text": …, "username": …}` like Slack and Mattermost, with attachments and blocks, and the posts of GitHub,
Grafana, Alertmanager and ODK Central. Markdown becomes plain text; a long text becomes up to four messages.
"""

# The headers of a websocket's handshake (RFC 6455 §4.1)
HANDSHAKE = [
    {"name": name, "in": "header", "required": True, "schema": {**TEXT, **value}}
    for name, value in {
        "Connection": {"const": "Upgrade"},
        "Upgrade": {"const": "websocket"},
        "Sec-WebSocket-Version": {"const": "13"},
        "Sec-WebSocket-Key": {"pattern": "^[A-Za-z0-9+/]{22}==$"},
    }.items()
]
AFTER = parameter(
    "after",
    TEXT,
    "The id of the last message that a reconnecting client has: instead of the history it gets later messages. If the "
    "server does not have them any more, it sends an `uncompliant`, and then the history.",
)
LAST_EVENT_ID = parameter(
    "Last-Event-ID", TEXT, "The same, sent by browsers that reconnect; it overrides `after`.", where="header"
)
ASKED = parameter("types", list_of(TEXT), f"Optional message types to receive: {', '.join(sorted(LIVE_TYPES))}.")
TYPE = parameter(
    "type", list_of({**TEXT, "enum": list(PLACED_TYPES)}) | {"minItems": 1}, "Only messages of these types."
)
SINCE = parameter(
    "since",
    {"type": "integer", "minimum": 0, "maximum": 999_999_999_999},
    "Only messages with this timestamp or a later one.",
)
BOX = parameter(
    "bbox",
    list_of({"type": "number"}) | {"minItems": 4, "maxItems": 4},
    "West, south, east, north (RFC 7946 §5): only features that touch this box.",
)

# The schema of each event, because OpenAPI 3.1 cannot describe the whole stream.
EVENT: JsonObject = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "description": "The message's type."},
        "id": {"type": "string", "description": "The message's id."},
        "data": {"type": "string", "description": "The message, as JSON: a `ServerMessage`."},
        "retry": {"type": "integer", "description": "Milliseconds until a reconnection."},
    },
}
POSTED: JsonObject = {"type": "object", "examples": [{"text": "The build is done.", "username": "ci"}]}
POSTED_FORM: JsonObject = {
    "type": "object",
    "properties": {"payload": {"type": "string", "description": "The same as JSON."}, "text": TEXT},
}
POSTED_FILES: JsonObject = {
    "type": "object",
    "description": "Pictures, and GeoJSON in WGS 84, under any names; at most four.",
    "properties": {"text": TEXT, "file": {"type": "string", "format": "binary"}},
}

NO_MESSAGE = {"404": answer("There is no such channel or message, or the message has no such form", Problem)}
NOT_MODIFIED = {"304": {"description": "Unchanged since the version in `If-None-Match`"}}


def _content(description: str, schemas: Mapping[str, JsonObject]) -> JsonObject:
    """An answer in one of several formats."""
    return {"description": description, "content": {kind: {"schema": schema} for kind, schema in schemas.items()}}


def _file(summary: str, content: Mapping[str, JsonObject], errors: JsonObject, **more: Any) -> JsonObject:
    """An operation that returns a file."""
    found = {"200": _content(summary, content), **NOT_MODIFIED}
    return {"get": operation(CHANNEL, summary, found | BANNED | PRIVATE | UNKNOWN | UNABLE | errors | TOO_MANY, **more)}


PATHS: dict[str, JsonObject] = {
    "/version": get(SERVER, "The version of the server", Version),
    "/rules": get(SERVER, "The server's rules and limits", Rules),
    "/channels": get(SERVER, "The names of the channels", NAMES),
    "/status": get(SERVER, "Whether messages are delivered, and the number of users of each channel", Status),
    "/qfield": {
        "get": operation(
            SERVER,
            "Redirects to the URL from which QField installs the plugin",
            {"302": {"description": "The URL is in `Location`"}, **TOO_MANY},
        )
    },
    "/map": get(SERVER, "The settings of the page's map", Map),
    "/livez": get(OPERATION, "Whether the process answers", Alive),
    "/readyz": get(
        OPERATION,
        "Whether messages are delivered and new clients accepted",
        Ready,
        {"503": answer("They are not", Ready)},
    ),
    "/metrics": {
        "get": operation(
            OPERATION,
            "The metrics of this host's processes, for Prometheus",
            {
                "200": {"description": "Text in one of Prometheus' formats", "content": {"text/plain": {}}},
                "403": answer("The request comes from another machine, without the token", Problem),
            },
        )
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
        "The places of the stored messages, oldest message first, as GeoJSON in WGS 84",
        {GEOJSON: reference("Places")},
        {"422": answer("A parameter is not as described", Faults)},
        parameters=[TYPE, SINCE, BOX],
    ),
    "/channel/{channel}/messages/{id}.json": _file(
        "A stored message, as sent to clients", {"application/json": reference("StoredMessage")}, NO_MESSAGE
    ),
    "/channel/{channel}/messages/{id}.geojson": _file(
        "The place of a stored message, as GeoJSON in WGS 84", {GEOJSON: reference("Places")}, NO_MESSAGE
    ),
    "/channel/{channel}/messages/{id}.gpkg": _file(
        "The layer, extent or position of a stored message as a GeoPackage 1.3, in its own CRS",
        {GEOPACKAGE: {"type": "string", "format": "binary"}},
        {**NO_MESSAGE, "500": answer("It could not be written", Problem)},
    ),
    "/channel/{channel}/text": {
        "put": operation(
            CHANNEL,
            "Send a text to the channel",
            {
                "200": answer("The message as it has been broadcast", reference("ReceiveText")),
                "403": answer(
                    "The channel is frozen; the address or author is banned; the author is not registered, although "
                    "required; or the request comes from a foreign page",
                    Problem,
                ),
                "409": answer("The sender has used this id for something else", Problem),
                "422": answer("The body is not a text message", Faults),
                "504": answer("Accepted, but not published in time; it may still be", Problem),
                **(PRIVATE | UNKNOWN | TOO_MANY | UNABLE),
            },
            requestBody={"required": True, **json_content(reference("PutText"))},
        )
    },
    "/channel/{channel}/events": {
        "get": operation(
            CHANNEL,
            "The channel's messages as server-sent events",
            {
                "200": _content("The stored messages, then all later ones", {"text/event-stream": EVENT}),
                **(BANNED | PRIVATE | UNKNOWN | TOO_MANY | FULL),
            },
            description=EVENTS,
            parameters=[AFTER, LAST_EVENT_ID],
        )
    },
    "/hooks/{key}": {
        "post": operation(
            CHANNEL,
            "Post a message from another program",
            {
                "200": answer("The messages are published", HookTaken),
                "202": answer("The messages are accepted, and published soon; do not post them again", HookTaken),
                "403": answer(
                    "The channel is frozen; the address or the hook's name is banned; or the page is foreign",
                    Problem,
                ),
                "404": answer("There is no hook with this key", Problem),
                "409": answer("This delivery's id has been used for something else", Problem),
                "413": answer("The body is too large", Problem),
                "422": answer("The body contains no text, or a file is invalid", FaultsOrProblem),
                **(TOO_MANY | UNABLE),
            },
            description=HOOKS,
            requestBody={
                "required": True,
                "content": {
                    "application/json": {"schema": POSTED},
                    "application/x-www-form-urlencoded": {"schema": POSTED_FORM},
                    "multipart/form-data": {"schema": POSTED_FILES},
                    "text/plain": {"schema": TEXT},
                },
            },
        )
    },
    "/channel/{channel}/ws": {
        "get": operation(
            CHANNEL,
            "The channel's websocket",
            {
                "101": {"description": "The connection is a websocket from now on"},
                "400": answer("The request is no websocket handshake", Problem),
                "426": answer("The handshake is for another version", Problem),
                "403": answer("The client's address is banned, or the page's site is not allowed", Problem),
                **(TOO_MANY | FULL),
            },
            description=WEBSOCKET,
            parameters=[*HANDSHAKE, AFTER, ASKED],
            **{"x-websocket": {"sends": reference("ClientMessage"), "receives": reference("ServerMessage")}},
        )
    },
}
