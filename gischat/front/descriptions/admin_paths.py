"""The paths for moderation, `/admin`."""

from typing import Any

from gischat.front.descriptions.answers import (
    BOOLEAN,
    INTEGER,
    NAMES,
    TEXT,
    UNKNOWN,
    Components,
    Faults,
    JsonObject,
    Problem,
    about,
    answer,
    json_content,
    list_of,
    operation,
    or_null,
    parameter,
    reference,
)

ADMIN_COMPONENTS = Components()
component = ADMIN_COMPONENTS.add
SECONDS = about(INTEGER, "Seconds since the epoch.")
UNTIL = {"since": SECONDS, "until": SECONDS, "by": about(TEXT, "The moderator's X-Moderator; may be empty.")}
Ban = component(
    "Ban",
    id=about(TEXT, "By which it is lifted."),
    kind={**TEXT, "enum": ["address", "nickname"]},
    subject=TEXT,
    channel=about(or_null(TEXT), "Null: every channel."),
    **UNTIL,
    reason=TEXT,
)
Unbanned = component("Unbanned", lifted=about(TEXT, "The ban's id."))
KEY: dict[str, JsonObject] = {
    "id": about(TEXT, "By which it is revoked."),
    "channels": about(NAMES, "Those that it opens."),
    **UNTIL,
    "note": TEXT,
}
Key = component("Key", **KEY)
NewKey = component(
    "NewKey",
    **KEY,
    key=about(TEXT, "Itself, which is shown here and never again."),
    path=about(TEXT, "What stands behind the instance's address."),
)
RevokedKey = component("RevokedKey", revoked=about(TEXT, "The key's id."))
ModeratedChannel = component(
    "ModeratedChannel",
    name=TEXT,
    nb_connected_users=INTEGER,
    frozen=BOOLEAN,
    frozen_since=or_null(INTEGER),
    frozen_by=or_null(TEXT),
)
Frozen = component("Frozen", channel=TEXT, frozen=BOOLEAN, changed=about(BOOLEAN, "False: it was so before."))
Deleted = component("Deleted", deleted=about(INTEGER, "How many messages."))
Disconnected = component("Disconnected", disconnected=about(NAMES, "In which channels."))
Announcement = component("Announcement", channel=TEXT, id=about({**TEXT, "format": "uuid"}, "Of the message."))
Announced = component("Announced", published=list_of(Announcement))
Connection = component(
    "Connection",
    front=TEXT,
    number=about(INTEGER, "Unique on its front."),
    channel=TEXT,
    nickname=about(or_null(TEXT), "Null: not registered."),
    address=about(TEXT, "Of somebody whom a bridge has registered, the bridge's kind."),
    since=SECONDS,
)
AnsweringFront = component("AnsweringFront", front=TEXT, host=TEXT, pid=INTEGER)
Connections = component(
    "Connections",
    connections=list_of(Connection),
    fronts=list_of(AnsweringFront),
    missing=about(NAMES, "Fronts that have not answered within a second: their connections are not listed."),
)

MODERATION = "Moderation"
SECURITY: list[JsonObject] = [{"adminToken": []}]
ADMIN_SCHEME: JsonObject = {"type": "http", "scheme": "bearer", "description": "The instance's `ADMIN_TOKEN`."}
UNAUTHORIZED = {
    "401": answer("The token is missing or wrong", Problem),
    "429": answer("Too many wrong tokens came from this address; see Retry-After", Problem),
}
PARTLY = {"503": answer("Not possible at the moment, or not in all channels: the reason names those done", Problem)}
UNFIT = {"422": answer("The body is not as described", Faults)}
ONLY_IN = parameter("channel", TEXT, "Only in this channel.")
REASON = parameter("reason", TEXT, "The reason for the user.")


ONE_SUBJECT = {"oneOf": [{"required": ["address"]}, {"required": ["nickname"]}]}


def _moderates(
    summary: str,
    schema: JsonObject,
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
    "/admin/channels": {"get": _moderates("The channels, and which are frozen", list_of(ModeratedChannel))},
    "/admin/channels/{channel}/messages": {
        "get": _moderates("The stored messages, oldest first", list_of(reference("StoredMessage")), errors=UNKNOWN),
        "delete": _moderates("Delete all messages sent so far", Deleted, errors=UNKNOWN),
    },
    "/admin/channels/{channel}/messages/{id}": {
        "delete": _moderates(
            "Delete a message: it is not sent to joining or reconnecting clients any more",
            Deleted,
            errors=_unknown("There is no such message, or channel"),
        )
    },
    "/admin/channels/{channel}/freeze": {
        "put": _moderates("Freeze the channel: make it read-only", Frozen, errors=UNKNOWN),
        "delete": _moderates("Thaw the channel", Frozen, errors=UNKNOWN),
    },
    "/admin/channels/{channel}/announcements": {
        "post": _moderates("Publish a text as the instance", Announced, asks="AnnouncementRequest", errors=UNKNOWN)
    },
    "/admin/announcements": {
        "post": _moderates("Publish a text as the instance, in every channel", Announced, asks="AnnouncementRequest")
    },
    "/admin/channels/{channel}/users/{nickname}": {
        "delete": _moderates(
            "Disconnect the client registered under a nickname", Disconnected, errors=NO_USER, parameters=[REASON]
        )
    },
    "/admin/users/{nickname}": {
        "delete": _moderates(
            "Disconnect the clients registered under a nickname, in every channel",
            Disconnected,
            errors=NO_USER,
            parameters=[REASON],
        )
    },
    "/admin/connections": {
        "get": _moderates("The connections of all fronts", Connections, errors=UNKNOWN, parameters=[ONLY_IN])
    },
    "/admin/bans": {
        "get": _moderates("The current bans", list_of(Ban)),
        "post": _moderates(
            "Ban an address, a network or a nickname for a time",
            Ban,
            asks="BanRequest",
            errors={"409": answer("There are too many bans", Problem)},
            status="201",
        ),
    },
    "/admin/bans/{id}": {
        "delete": _moderates(
            "Lift a ban", Unbanned, errors=_unknown("There is no such ban, or channel"), parameters=[ONLY_IN]
        )
    },
    "/admin/keys": {
        "get": _moderates("The current keys", list_of(Key)),
        "post": _moderates(
            "Make a key that opens private channels",
            NewKey,
            asks="KeyRequest",
            errors={"409": answer("There are too many keys", Problem)},
            status="201",
        ),
    },
    "/admin/keys/{id}": {
        "delete": _moderates(
            "Revoke a key, and disconnect the clients that use it", RevokedKey, errors=_unknown("There is no such key")
        )
    },
}
