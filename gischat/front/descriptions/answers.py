"""JSON schemas of HTTP answers, which have exactly the keys named here; helpers for describing answers."""

from typing import Any

JsonObject = dict[str, Any]

TEXT: JsonObject = {"type": "string"}
INTEGER: JsonObject = {"type": "integer"}
BOOLEAN: JsonObject = {"type": "boolean"}


def reference(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(items: JsonObject) -> JsonObject:
    return {"type": "array", "items": items}


def about(schema: JsonObject, description: str) -> JsonObject:
    return {**schema, "description": description}


def or_null(schema: JsonObject) -> JsonObject:
    return {**schema, "type": [schema["type"], "null"]}


class Components(dict[str, JsonObject]):
    """Schemas of objects that have exactly the keys named, by their names in the document."""

    def add(self, name: str, /, **properties: JsonObject) -> JsonObject:
        """Add a schema; returns a reference to it."""
        exactly = {"required": list(properties), "additionalProperties": False}
        self[name] = {"type": "object", "properties": properties, **exactly}
        return reference(name)


NAMES = list_of(TEXT)

COMPONENTS = Components()
component = COMPONENTS.add
Version = component("Version", version=TEXT)
Rules = component(
    "Rules",
    rules=TEXT,
    main_lang=about(TEXT, "The server's main language."),
    min_author_length=INTEGER,
    max_author_length=INTEGER,
    max_message_length=about(INTEGER, "In characters."),
    max_image_size=about(INTEGER, "The longest side, in pixels."),
    max_geojson_features=INTEGER,
)
ChannelStatus = component("ChannelStatus", name=TEXT, nb_connected_users=INTEGER)
Status = component(
    "Status",
    status={**TEXT, "enum": ["ok", "degraded"]},
    healthy=about(BOOLEAN, "Whether messages are delivered."),
    channels=list_of(ChannelStatus),
)
Map = component(
    "Map",
    code=about(or_null(TEXT), "The path of the map's script."),
    tiles=about(or_null(TEXT), "The operator's tiles, as XYZ."),
    attribution=about(TEXT, "The attribution of the tiles."),
)
Alive = component("Alive", alive=BOOLEAN)
Ready = component("Ready", ready=BOOLEAN, reasons=about(NAMES, "Why it is not ready."))
Problem = component("Problem", detail=about(TEXT, "The reason, for people."))
Fault = component("Fault", loc=about(NAMES, "`body`, and the field."), msg=TEXT, type=TEXT)
Faults = component("Faults", detail={**list_of(Fault), "minItems": 1})
FaultsOrProblem = component("FaultsOrProblem", detail={"description": "The reason, or a list of errors by field."})
HookTaken = component("HookTaken", ok=BOOLEAN, ids=about(NAMES, "The messages' ids, in their order."))


def json_content(schema: JsonObject) -> JsonObject:
    return {"content": {"application/json": {"schema": schema}}}


def answer(description: str, schema: JsonObject) -> JsonObject:
    return {"description": description, **json_content(schema)}


def operation(tag: str, summary: str, responses: JsonObject, **more: Any) -> JsonObject:
    return {"tags": [tag], "summary": summary, "responses": responses, **more}


def get(tag: str, summary: str, schema: JsonObject, errors: JsonObject | None = None) -> JsonObject:
    limits = {} if tag == OPERATION else TOO_MANY
    return {"get": operation(tag, summary, {"200": answer(summary, schema), **(errors or {}), **limits})}


def parameter(name: str, schema: JsonObject, description: str, *, where: str = "query") -> JsonObject:
    """An optional parameter; a list's values are separated by commas."""
    commas = {"style": "form", "explode": False} if schema["type"] == "array" else {}
    return {"name": name, "in": where, "schema": schema, "description": description, **commas}


SERVER, CHANNEL, OPERATION = "The server", "A channel", "Operation"
RETRY_AFTER = {"headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}}
TOO_MANY = {"429": answer("Too many requests or connections from one address", Problem) | RETRY_AFTER}
FULL = {"503": answer("The server has reached its limit of connections", Problem) | RETRY_AFTER}
UNKNOWN = {"404": answer("The channel does not exist", Problem)}
PRIVATE = {"401": answer("The channel is private, and the request has no valid token", Problem)}
UNABLE = {"503": answer("Not possible at the moment; nothing has been done", Problem)}
BANNED = {"403": answer("The client's address, or the author's nickname, is banned", Problem)}
