"""Schemas of the requests to `/admin`: for validation, and for `/openapi.json`."""

from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates, validates_schema

from gischat.front.auth.bans import network_of
from gischat.protocol.fields import Identifier, VisibleText, whole
from gischat.settings import Settings

MAX_BAN_SECONDS = 365 * 24 * 3600  # seconds
DEFAULT_BAN_SECONDS = 24 * 3600  # seconds
MAX_KEY_SECONDS = 10 * 365 * 24 * 3600  # seconds
DEFAULT_KEY_SECONDS = 365 * 24 * 3600  # seconds: a forgotten key does not stay valid for ever
MAX_NOTE_LENGTH = 200  # characters
MAX_REASON_LENGTH = 80  # characters: a close frame contains up to 123 bytes, and other text, too

ONE_SUBJECT = "Either an address or a nickname has to be given."
A_NICKNAME = validate.Regexp(r"[A-Za-z0-9_-]{1,64}\Z", error="A nickname has letters A-Z, digits, '_' and '-' only.")
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_GROUP = "[23][0-9A-Fa-f]{3}:"  # the first one of routed addresses (RFC 4291 §2.4)
_LENGTHS = {4: "([89]|[12][0-9]|3[0-2])", 6: "(19|[2-9][0-9]|1[01][0-9]|12[0-8])"}  # not wider than MIN_PREFIX
A_NETWORK = f"^(({_BYTE}[.]){{3}}{_BYTE}/{_LENGTHS[4]}|{_GROUP}([0-9A-Fa-f]{{1,4}}:){{0,6}}:/{_LENGTHS[6]})$"


class Strict(Schema):
    class Meta:
        unknown = RAISE


class Seconds(fields.Integer):
    """A whole number of seconds."""

    def _validated(self, value: Any) -> int:
        number = whole(value)
        if number is None:
            raise self.make_error("invalid", input=value)
        return number


class BanRequest(Strict):
    address = fields.String(
        metadata={
            "description": "An address, or a network as 203.0.113.0/24; an IPv6 address stands for its /64.",
            "schema": {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}, {"pattern": A_NETWORK}]},
        }
    )
    nickname = fields.String(validate=A_NICKNAME, metadata={"description": "In whatever capitals."})
    seconds = Seconds(
        load_default=DEFAULT_BAN_SECONDS, validate=validate.Range(1, MAX_BAN_SECONDS), metadata={"examples": [3600]}
    )
    reason = fields.String(
        load_default="",
        validate=validate.Length(max=MAX_REASON_LENGTH),
        metadata={"description": "Is shown to whoever is banned."},
    )

    @validates("address")
    def is_a_network(self, value: str, data_key: str) -> None:
        try:
            network_of(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None

    @validates_schema(skip_on_field_errors=True)
    def has_one_subject(self, data: dict[str, Any], **_: Any) -> None:
        if ("address" in data) == ("nickname" in data):
            raise ValidationError(ONE_SUBJECT, "address")


def ban_request(settings: Settings) -> Schema:
    """The schema of a ban, in one of the instance's channels or in all."""
    channel = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.OneOf(settings.channels, error="Channel '{input}' not registered"),
        metadata={"description": "Null: in every channel."},
    )
    return BanRequest.from_dict({"channel": channel}, name=BanRequest.__name__)()


def key_request(settings: Settings) -> Schema:
    """The schema of a key for private channels of the instance."""
    private = list(dict.fromkeys(channel for channel, _ in settings.channel_tokens))
    one = fields.String(
        validate=validate.OneOf(private, error="'{input}' is no private channel of this server: see CHANNEL_TOKENS.")
    )
    seconds = validate.Range(1, MAX_KEY_SECONDS)
    about_note = {"description": "For moderators: who has the key, what it is for."}
    request: dict[str, fields.Field[Any]] = {
        "channels": fields.List(one, required=True, validate=validate.Length(min=1)),
        "seconds": Seconds(load_default=DEFAULT_KEY_SECONDS, validate=seconds, metadata={"examples": [86400]}),
        "note": fields.String(load_default="", validate=validate.Length(max=MAX_NOTE_LENGTH), metadata=about_note),
    }
    return Strict.from_dict(request, name="KeyRequest")()


def announcement_request(settings: Settings) -> Schema:
    """The schema of an announcement, as long as any text of the instance."""
    about_id = {"description": "Of the message. What is asked for again with the same id is published once."}
    request: dict[str, fields.Field[Any]] = {
        "id": Identifier(metadata=about_id),
        "text": VisibleText(settings.max_message_length),
    }
    return Strict.from_dict(request, name="AnnouncementRequest")()
