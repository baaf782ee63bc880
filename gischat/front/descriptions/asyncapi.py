"""The AsyncAPI 3.0 document of the websocket, with the same messages as in the OpenAPI document."""

from collections import defaultdict
from typing import Any

from gischat import __version__
from gischat.front import close_status
from gischat.front.auth.channel_auth import NO_TOKEN, OTHER_KEY, TOKEN_PARAMETER, WRONG_KEY, WRONG_TOKEN
from gischat.front.close_status import DISCONNECTED, CloseStatus
from gischat.front.descriptions.messages import message_components
from gischat.front.descriptions.paths import AFTER
from gischat.settings import Settings

JsonObject = dict[str, Any]

ABOUT = """\
A chat for people who work with maps: the websocket of a channel. Each text frame contains one JSON object.
[openapi.json](openapi.json) describes the HTTP interface.
"""

CHANNEL = """\
On joining, a client receives the stored messages, oldest first, and `nb_users`; then all messages of the channel. These
include its own: the echo confirms that a message is published. An invalid message is answered by an `uncompliant`, and
the connection stays open. Before the server closes a connection, it sends the reason in an `uncompliant`.

Unknown keys from clients are dropped; messages from the server have exactly the keys described. A client may set the
`id` of a message, and resend the message with that `id` if it does not know whether it arrived: within ten minutes it
is published only once.
"""

QUERY: JsonObject = {
    "after": {"type": "string", "description": AFTER["description"]},
    "types": {
        "type": "string",
        "description": "Optional message types to receive, separated by commas.",
    },
}
TOKEN: JsonObject = {
    TOKEN_PARAMETER: {
        "type": "string",
        "description": "The token of a private channel; not needed with a key in the path: `/k/{key}`.",
    }
}

POLICY_VIOLATION = 1008
# Codes of RFC 6455 §7.4.1 that the server uses without a `CloseStatus`
PROTOCOL_CLOSES = {
    1000: ["The client has closed the connection."],
    1002: ["A frame violates RFC 6455."],
    1007: ["A text is not UTF-8."],
}


def document(settings: Settings) -> dict[str, object]:
    """The AsyncAPI document of an instance, with the channels and limits of its settings."""
    of_messages = ("Send", "Receive", "FeatureCollection")
    schemas = {name: one for name, one in message_components(settings).items() if name.startswith(of_messages)}
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
        # From the server's point of view, as this is the server's document
        "operations": {
            "receive": _operation("receive", "The messages that a client may send.", sent),
            "send": _operation("send", "The messages that a client receives.", received),
        },
        "components": {
            "messages": {
                name: {"name": name, "title": name, "payload": _reference("components/schemas", name)}
                for name in (*sent, *received)
            },
            "schemas": schemas,
        },
    }


def _operation(action: str, summary: str, names: list[str]) -> JsonObject:
    messages = [_reference("channels/chat/messages", name) for name in names]
    return {"action": action, "summary": summary, "channel": _reference("channels", "chat"), "messages": messages}


def _reference(where: str, name: str) -> JsonObject:
    return {"$ref": f"#/{where}/{name}"}


def _close_codes() -> dict[str, list[str]]:
    """The reasons in the server's close frames, by code."""
    reasons: defaultdict[int, list[str]] = defaultdict(list, PROTOCOL_CLOSES)
    named = [value for value in vars(close_status).values() if isinstance(value, CloseStatus)]
    for status in (*named, close_status.message_too_long(0, 1), close_status.unknown_channel("…")):
        reasons[status.code].append(status.reason)
    private = (reason.format("…") for reason in (NO_TOKEN, WRONG_TOKEN, OTHER_KEY))
    reasons[POLICY_VIOLATION] += [*private, WRONG_KEY, DISCONNECTED, "… is banned until …"]
    return {str(code): reasons[code] for code in sorted(reasons)}
