"""Schemas of HTTP answers, which have exactly the keys named here; helpers for describing answers."""

from typing import Any

from marshmallow import Schema, fields, validate

from gischat.front.handlers import admin_schemas

JsonObject = dict[str, Any]


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
    healthy = fields.Boolean(required=True, metadata={"description": "Whether messages are delivered."})
    channels = fields.List(fields.Nested(ChannelStatus), required=True)


class Map(Answer):
    code = fields.String(required=True, allow_none=True, metadata={"description": "The path of the map's script."})
    tiles = fields.String(required=True, allow_none=True, metadata={"description": "The operator's tiles, as XYZ."})
    attribution = fields.String(required=True, metadata={"description": "The attribution of the tiles."})


class Alive(Answer):
    alive = fields.Boolean(required=True)


class Ready(Answer):
    ready = fields.Boolean(required=True)
    reasons = fields.List(fields.String(), required=True, metadata={"description": "Why it is not ready."})


class Problem(Answer):
    detail = fields.String(required=True, metadata={"description": "The reason, for people."})


class Fault(Answer):
    loc = fields.List(fields.String(), required=True, metadata={"description": "`body`, and the field."})
    msg = fields.String(required=True)
    type = fields.String(required=True)


class Faults(Answer):
    detail = fields.List(fields.Nested(Fault), required=True, validate=validate.Length(min=1))


class HookTaken(Answer):
    ok = fields.Boolean(required=True)
    ids = fields.List(fields.String(), required=True, metadata={"description": "The messages' ids, in their order."})


class FaultsOrProblem(Answer):
    detail = fields.Raw(required=True, metadata={"description": "The reason, or a list of errors by field."})


def reference(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(items: JsonObject) -> JsonObject:
    return {"type": "array", "items": items}


def json_content(schema: type[Schema] | JsonObject) -> JsonObject:
    return {"content": {"application/json": {"schema": schema}}}


def answer(description: str, schema: type[Schema] | JsonObject) -> JsonObject:
    return {"description": description, **json_content(schema)}


def operation(tag: str, summary: str, responses: JsonObject, **more: Any) -> JsonObject:
    return {"tags": [tag], "summary": summary, "responses": responses, **more}


def get(tag: str, summary: str, schema: type[Schema] | JsonObject, errors: JsonObject | None = None) -> JsonObject:
    limits = {} if tag == OPERATION else TOO_MANY
    return {"get": operation(tag, summary, {"200": answer(summary, schema), **(errors or {}), **limits})}


def parameter(name: str, schema: JsonObject, description: str, *, where: str = "query") -> JsonObject:
    """An optional parameter; a list's values are separated by commas."""
    commas = {"style": "form", "explode": False} if schema["type"] == "array" else {}
    return {"name": name, "in": where, "schema": schema, "description": description, **commas}


SERVER, CHANNEL, OPERATION = "The server", "A channel", "Operation"
NAMES = list_of({"type": "string"})
RETRY_AFTER = {"headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}}
TOO_MANY = {"429": answer("Too many requests or connections from one address", Problem) | RETRY_AFTER}
FULL = {"503": answer("The server has reached its limit of connections", Problem) | RETRY_AFTER}
UNKNOWN = {"404": answer("The channel does not exist", Problem)}
PRIVATE = {"401": answer("The channel is private, and the request has no valid token", Problem)}
UNABLE = {"503": answer("Not possible at the moment; nothing has been done", Problem)}
BANNED = {"403": answer("The client's address, or the author's nickname, is banned", Problem)}
