"""The paths for moderation, `/admin`."""

from typing import Any

from marshmallow import Schema

from gischat.front.descriptions.answers import (
    UNKNOWN,
    Faults,
    JsonObject,
    Problem,
    answer,
    json_content,
    list_of,
    operation,
    parameter,
    reference,
)
from gischat.front.handlers import admin_schemas

MODERATION = "Moderation"
SECURITY: list[JsonObject] = [{"adminToken": []}]
ADMIN_SCHEME: JsonObject = {"type": "http", "scheme": "bearer", "description": "The instance's `ADMIN_TOKEN`."}
UNAUTHORIZED = {
    "401": answer("The token is missing or wrong", Problem),
    "429": answer("Too many wrong tokens came from this address; see Retry-After", Problem),
}
PARTLY = {
    "503": answer(
        "Not possible at the moment, or not in all channels: the reason names those done",
        Problem,
    )
}
UNFIT = {"422": answer("The body is not as described", Faults)}
ONLY_IN = parameter("channel", {"type": "string"}, "Only in this channel.")
REASON = parameter("reason", {"type": "string"}, "The reason for the user.")


ONE_SUBJECT = {"oneOf": [{"required": ["address"]}, {"required": ["nickname"]}]}


def _moderates(
    summary: str,
    schema: type[Schema] | JsonObject,
    *,
    errors: JsonObject | None = None,
    asks: str | None = None,
    status: str = "200",
    **more: Any,
) -> JsonObject:
    """An operation that requires the moderators' token."""
    responses = {status: answer(summary, schema), **UNAUTHORIZED, **PARTLY, **(errors or {})}
    if asks is not None:
        responses |= UNFIT
        more["requestBody"] = {"required": True, **json_content(reference(asks))}
    return operation(MODERATION, summary, responses, security=SECURITY, **more)


def _unknown(what: str) -> JsonObject:
    return {"404": answer(what, Problem)}


NO_USER = _unknown("Nobody is registered under this nickname, or there is no such channel")

ADMIN_PATHS: dict[str, JsonObject] = {
    "/admin/channels": {
        "get": _moderates("The channels, and which are frozen", list_of(reference("ModeratedChannel")))
    },
    "/admin/channels/{channel}/messages": {
        "get": _moderates("The stored messages, oldest first", list_of(reference("StoredMessage")), errors=UNKNOWN),
        "delete": _moderates("Delete all messages sent so far", admin_schemas.Deleted, errors=UNKNOWN),
    },
    "/admin/channels/{channel}/messages/{id}": {
        "delete": _moderates(
            "Delete a message: it is not sent to joining or reconnecting clients any more",
            admin_schemas.Deleted,
            errors=_unknown("There is no such message, or channel"),
        )
    },
    "/admin/channels/{channel}/freeze": {
        "put": _moderates("Freeze the channel: make it read-only", admin_schemas.Frozen, errors=UNKNOWN),
        "delete": _moderates("Thaw the channel", admin_schemas.Frozen, errors=UNKNOWN),
    },
    "/admin/channels/{channel}/announcements": {
        "post": _moderates(
            "Publish a text as the instance", admin_schemas.Announced, asks="AnnouncementRequest", errors=UNKNOWN
        )
    },
    "/admin/announcements": {
        "post": _moderates(
            "Publish a text as the instance, in every channel", admin_schemas.Announced, asks="AnnouncementRequest"
        )
    },
    "/admin/channels/{channel}/users/{nickname}": {
        "delete": _moderates(
            "Disconnect the client registered under a nickname",
            admin_schemas.Disconnected,
            errors=NO_USER,
            parameters=[REASON],
        )
    },
    "/admin/users/{nickname}": {
        "delete": _moderates(
            "Disconnect the clients registered under a nickname, in every channel",
            admin_schemas.Disconnected,
            errors=NO_USER,
            parameters=[REASON],
        )
    },
    "/admin/connections": {
        "get": _moderates(
            "The connections of all fronts", admin_schemas.Connections, errors=UNKNOWN, parameters=[ONLY_IN]
        )
    },
    "/admin/bans": {
        "get": _moderates("The current bans", list_of(reference("Ban"))),
        "post": _moderates(
            "Ban an address, a network or a nickname for a time",
            admin_schemas.Ban,
            asks="BanRequest",
            errors={"409": answer("There are too many bans", Problem)},
            status="201",
        ),
    },
    "/admin/bans/{id}": {
        "delete": _moderates(
            "Lift a ban",
            admin_schemas.UnbannedSchema,
            errors=_unknown("There is no such ban, or channel"),
            parameters=[ONLY_IN],
        )
    },
    "/admin/keys": {
        "get": _moderates("The current keys", list_of(reference("Key"))),
        "post": _moderates(
            "Make a key that opens private channels",
            admin_schemas.NewKey,
            asks="KeyRequest",
            errors={"409": answer("There are too many keys", Problem)},
            status="201",
        ),
    },
    "/admin/keys/{id}": {
        "delete": _moderates(
            "Revoke a key, and disconnect the clients that use it",
            admin_schemas.RevokedKey,
            errors=_unknown("There is no such key"),
        )
    },
}
