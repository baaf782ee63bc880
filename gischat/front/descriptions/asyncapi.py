"""The websocket as AsyncAPI 3.0: the same messages as in the OpenAPI document, from the same table."""

from collections import defaultdict
from typing import Any

from apispec import APISpec

from gischat import __version__
from gischat.front import close_status
from gischat.front.auth.channel_auth import NO_TOKEN, OTHER_KEY, TOKEN_PARAMETER, WRONG_KEY, WRONG_TOKEN
from gischat.front.close_status import DISCONNECTED, CloseStatus
from gischat.front.descriptions.messages import Plugin, message_components
from gischat.front.descriptions.paths import AFTER
from gischat.settings import Settings

JsonObject = dict[str, Any]

ABOUT = """\
A chat for people who work with maps: one channel's websocket. Each text frame holds one JSON object. The requests over
HTTP are described by [openapi.json](openapi.json).
"""

CHANNEL = """\
On joining, a client receives the stored messages, oldest first, and `nb_users`; from then on what everybody says, its
own messages included: that echo is the answer. What breaks the contract is answered by `uncompliant`, and costs nothing
else. Before the server closes a connection it says why in an `uncompliant`.

Keys from a client that are not described are dropped; what the server sends has exactly the keys described. A client
may give a message its own `id`, and send it again under that if it does not know whether it arrived: it is published
once within ten minutes.
"""

QUERY: JsonObject = {
    "after": {"type": "string", "description": AFTER["description"]},
    "types": {
        "type": "string",
        "description": "Types, separated by commas, that only those connections get which ask for them.",
    },
}
TOKEN: JsonObject = {
    TOKEN_PARAMETER: {
        "type": "string",
        "description": "The token of a private channel; not needed where a key stands before the address: `/k/{key}`.",
    }
}

POLICY_VIOLATION = 1008
# Of RFC 6455 §7.4.1, where the server has no words of its own
PROTOCOL_CLOSES = {
    1000: ["The client has closed the connection."],
    1002: ["A frame breaks RFC 6455."],
    1007: ["A text is not UTF-8."],
}


def document(settings: Settings) -> dict[str, object]:
    """The AsyncAPI document of one instance: its channels and limits are the settings'."""
    schemas = _schemas(settings)
    sent = [name for name in schemas if name.startswith("Send")]
    received = [name for name in schemas if name.startswith("Receive")]
    channel = {
        "address": f"{settings.base_path}/channel/{{channel}}/ws",
        "title": "A channel's websocket",
        "description": CHANNEL,
        "parameters": {
            "channel": {"description": "The channel's name, percent-encoded.", "enum": list(settings.channels)}
        },
        "messages": {name: _reference("components/messages", name) for name in (*sent, *received)},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": QUERY | (TOKEN if settings.channel_tokens else {})},
                "bindingVersion": "0.1.0",
            }
        },
        "x-close-codes": _close_codes(),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "gischat", "version": __version__, "description": ABOUT},
        "defaultContentType": "application/json",
        "channels": {"chat": channel},
        # As the server sees it, which this document is of
        "operations": {
            "hear": _operation("receive", "What a client may send.", sent),
            "say": _operation("send", "What a client receives.", received),
        },
        "components": {
            "messages": {
                name: {"name": name, "title": name, "payload": _reference("components/schemas", name)}
                for name in (*sent, *received)
            },
            "schemas": schemas,
        },
    }


def _schemas(settings: Settings) -> dict[str, JsonObject]:
    plugin = Plugin()
    APISpec("gischat", __version__, "3.1.0", [plugin])
    assert plugin.converter is not None  # APISpec has given it one
    components = message_components(plugin.converter, settings)
    return {
        name: schema
        for name, schema in components.items()
        if name.startswith(("Send", "Receive")) or name == "FeatureCollection"
    }


def _operation(action: str, summary: str, names: list[str]) -> JsonObject:
    messages = [_reference("channels/chat/messages", name) for name in names]
    return {"action": action, "summary": summary, "channel": _reference("channels", "chat"), "messages": messages}


def _reference(where: str, name: str) -> JsonObject:
    return {"$ref": f"#/{where}/{name}"}


def _close_codes() -> dict[str, list[str]]:
    """Why the server closes, by code: the reasons that close frames bear."""
    reasons: defaultdict[int, list[str]] = defaultdict(list, PROTOCOL_CLOSES)
    named = [value for value in vars(close_status).values() if isinstance(value, CloseStatus)]
    for status in (*named, close_status.message_too_long(0, 1), close_status.unknown_channel("…")):
        reasons[status.code].append(status.reason)
    private = (reason.format("…") for reason in (NO_TOKEN, WRONG_TOKEN, OTHER_KEY))
    reasons[POLICY_VIOLATION] += [*private, WRONG_KEY, DISCONNECTED, "… is banned until …"]
    return {str(code): reasons[code] for code in sorted(reasons)}
