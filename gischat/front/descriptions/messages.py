"""JSON schemas of the websocket's messages and of their places.

Each message has a schema for each direction: `Send…` for what clients may send, and `Receive…` for what they get, which
has all keys and no others.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

from gischat.front.descriptions.answers import JsonObject, list_of, reference
from gischat.protocol import fields as protocol
from gischat.protocol import places
from gischat.protocol.parsing import NULL_IS_ABSENT
from gischat.protocol.schemas import schemas, server_schemas
from gischat.protocol.types import PLACED_TYPES, TYPES
from gischat.protocol.wording import VISIBLE
from gischat.settings import Settings

# The messages of the websocket


class Converter(OpenAPIConverter):
    """apispec's converter, extended by the fields of messages."""

    OWN: Mapping[type[fields.Field[Any]], JsonObject] = {
        protocol.Identifier: {
            "type": "string",
            "format": "uuid",
            "description": "Braces, URNs and missing hyphens are accepted, and converted to the usual form.",
        },
        protocol.Timestamp: {
            "type": "integer",
            "description": "Seconds since the epoch.",
            "minimum": 0,
            "maximum": protocol.LAST_SECOND,
            "examples": [1_700_000_000],
        },
        protocol.Document: reference("FeatureCollection"),
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
    """The limits of a text field, and how its values are changed."""
    described: JsonObject = {} if field.longest is None else {"maxLength": field.longest}
    match field:
        case protocol.Nickname():
            described |= {"minLength": field.shortest, "pattern": field.FORM.pattern}
        case protocol.VisibleText():
            described |= {"minLength": 1, "pattern": VISIBLE, "description": "Not only white space."}
        case protocol.FileName():
            described |= {"description": "What is not allowed in file names (`/`, `..`, a leading dot, …) becomes `_`."}
        case protocol.IconName():
            described |= {"description": "The name of an icon of QGIS; characters of paths (`..`, `:`, …) become `_`."}
    return described


PYTHON_END = r"\Z"


def _ecma(pattern: str) -> str:
    r"""Convert a pattern to ECMA 262 for JSON Schema: patterns are not anchored, and `$` means Python's `\Z`."""
    return f"^{pattern.removesuffix(PYTHON_END)}$" if pattern.endswith(PYTHON_END) else pattern


_converter = Converter("3.1.0", None, None)  # type: ignore[arg-type]  # no schema nests others


def json_schema(schema: Schema) -> JsonObject:
    """The JSON schema of what a marshmallow schema validates."""
    described: JsonObject = _converter.schema2jsonschema(schema)  # type: ignore[no-untyped-call]
    return described


def message_components(settings: Settings) -> dict[str, JsonObject]:
    """The schemas of the websocket's messages and their parts, by name: `SendText`, `ReceiveText`, …"""
    sent = _described(schemas(settings))
    received = sent | _described(server_schemas(settings))
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
    # Swagger UI displays the alternatives of a schema by their titles.
    return {name: {"title": name, **schema} for name, schema in components.items()}


def _described(schemas: Mapping[str, Schema]) -> dict[str, JsonObject]:
    return {
        type_: {**json_schema(schema), "description": TYPES[type_].description} for type_, schema in schemas.items()
    }


def _requiring(schema: JsonObject, names: set[str]) -> JsonObject:
    return {**schema, "required": sorted({*schema.get("required", ()), *names})}


def _as_sent(schema: JsonObject) -> JsonObject:
    """The schema for sending: some fields may be null, and unknown keys are allowed."""
    properties = {
        name: field | {"type": [field["type"], "null"]} if name in NULL_IS_ABSENT else field
        for name, field in schema["properties"].items()
    }
    return {**schema, "properties": properties, "additionalProperties": True}


def _complete(schema: JsonObject) -> JsonObject:
    """The schema for receiving: all keys and no others, on which strict clients rely."""
    always = set(schema["properties"]) - {"in_reply_to_id"}
    return {**_requiring(schema, always), "additionalProperties": False}


def _one_of(direction: str, types: Iterable[str]) -> JsonObject:
    references = {type_: reference(_name(direction, type_)) for type_ in types}
    mapping = {type_: reference["$ref"] for type_, reference in references.items()}
    return {"oneOf": list(references.values()), "discriminator": {"propertyName": "type", "mapping": mapping}}


def _name(direction: str, type_: str) -> str:
    return direction + "".join(word.capitalize() for word in type_.split("_"))


# Messages' places

_OF_MESSAGES: JsonObject = {
    "id": {"type": "string", "description": "The message's id."},
    "type": {"type": "string", "enum": list(PLACED_TYPES)},
    "author": {"type": "string"},
    "timestamp": {"type": "integer"},
    "layer_name": {"type": ["string", "null"]},
    "crs_authid": {"type": "string"},
}
PLACES: JsonObject = {
    "type": "object",
    "description": "RFC 7946 §3.3, in WGS 84. A feature's id is its message's; in a layer, a dot and the feature's "
    "number follow. A layer's features have their own properties in addition to those of the message. If a name occurs "
    f"in both, the message's property has the prefix `{places.PREFIX}` in all features of that layer.",
    "required": ["type", "features"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "const": "FeatureCollection"},
        "features": list_of(
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
