"""Incoming hooks: converts a POST to messages, texts by the kind of sender, and pictures and layers from its files."""

import base64
import codecs
from collections.abc import Mapping
from hashlib import sha256
from pathlib import PurePath
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

import msgspec
from tornado.httputil import HTTPFile, HTTPInputError, parse_body_arguments

from gischat.errors import Uncompliant
from gischat.hooks import alerts, github, odk, slack
from gischat.hooks.plain_text import first_line, pieces
from gischat.protocol.places import WGS_84_WKT
from gischat.shapes import text

NO_TEXT = (
    'There is nothing to say in this. Send {"text": "…"}, or what GitHub, Grafana, Alertmanager, ODK Central, '
    "Slack or Mattermost send."
)
NOT_JSON = 'This is not JSON: send an object such as {"text": "…"}.'
NOT_A_FORM = "This form cannot be read."
TOO_MANY_PARTS = "This has too many parts to be read: send less at once."
NOT_IN_WGS_84 = (
    "The coordinates of this GeoJSON are in another CRS, and it does not hold its definition: save it in WGS 84 "
    "(EPSG:4326), as RFC 7946 §4 demands."
)
NOT_A_LAYER = "The file {} is not JSON: save it as GeoJSON again, or send it as a picture."
TOO_MANY_FILES = "At most {} files may be sent at once."

IDEMPOTENCY_KEY = "Idempotency-Key"  # draft-ietf-httpapi-idempotency-key-header
MAX_FILES = 4
MAX_PARTS = 100_000  # objects, lists and members of a body: each takes more than a microsecond and some hundred bytes
MAX_USERNAME = 32
DOCUMENTS = (".json", ".geojson")
CRS_84 = ("CRS84", ":4326")  # endings of WGS 84's names


class _Crs(msgspec.Struct):
    properties: dict[str, Any] = {}


class _Layer(msgspec.Struct):
    crs: _Crs | None = None


class Body(NamedTuple):
    """The content of a POST: one object, and files."""

    content: dict[str, Any]
    files: list[HTTPFile]


def decode(content_type: str, body: bytes) -> Body:
    """Decode JSON of any content type, a form (with files, or with JSON in its field `payload`), or plain text.

    Raises:
        Uncompliant: the body is none of these.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return _form(content_type, body)
    if body.lstrip()[:1] == b"{":
        return Body(_object(body), [])
    if kind == "application/x-www-form-urlencoded":
        return _form(kind, body)
    if kind == "text/plain":
        return Body({"text": body.decode(errors="replace")}, [])
    raise Uncompliant(NOT_JSON)


def _form(content_type: str, body: bytes) -> Body:
    fields: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        parse_body_arguments(content_type, body, fields, files)
    except HTTPInputError:
        raise Uncompliant(NOT_A_FORM) from None
    sent = [file for named in files.values() for file in named]
    if len(sent) > MAX_FILES:
        raise Uncompliant(TOO_MANY_FILES.format(MAX_FILES))
    last = {name: values[-1] for name, values in fields.items()}
    if "payload" in last:
        return Body(_object(last["payload"]), sent)
    return Body({name: value.decode(errors="replace") for name, value in last.items()}, sent)


def _object(body: bytes) -> dict[str, Any]:
    if sum(map(body.count, (b"{", b"[", b":"))) > MAX_PARTS:  # also counts those in texts, which have far fewer
        raise Uncompliant(TOO_MANY_PARTS)
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Uncompliant(NOT_JSON) from None


def text_of(headers: Mapping[str, str], content: dict[str, Any], name: str) -> str:
    """The text of a post, by its kind of sender.

    Args:
        name: the hook's nickname; a post's other `username` precedes the text.
    """
    if event := headers.get(github.EVENT):
        return github.lines(event, content)
    if isinstance(content.get("alerts"), list):
        return alerts.lines(content)
    if "ruleName" in content or "evalMatches" in content:
        return alerts.old_lines(content)
    if text(content, "type").startswith(odk.EVENTS) and "data" in content:
        return odk.lines(content)
    said = slack.lines(content)
    username = first_line(text(content, "username"))[:MAX_USERNAME]
    return f"{username}: {said}" if said and username and username.casefold() != name.casefold() else said


def messages_of(
    headers: Mapping[str, str], body: Body, *, name: str, longest: int, delivery_scope: str
) -> list[dict[str, Any]]:
    """The messages of a post, in order: the text in pieces, then the files.

    Their ids derive from the delivery's id, so that a repeated delivery is published only once.

    Args:
        longest: maximum characters of a text.
        delivery_scope: the scope in which deliveries' ids are unique.

    Raises:
        Uncompliant: the post contains nothing to publish.
    """
    said = pieces(text_of(headers, body.content, name), longest)
    found = [{"type": "text", "text": piece} for piece in said] + [_file(one) for one in body.files]
    if not found:
        raise Uncompliant(NO_TEXT)
    delivery = _delivery(headers, body.content)
    for number, message in enumerate(found):
        message["author"] = name
        if delivery:
            message["id"] = str(uuid5(NAMESPACE_URL, f"{delivery_scope}/{delivery}/{number}"))
    return found


def _delivery(headers: Mapping[str, str], content: dict[str, Any]) -> str:
    """An id that is the same for a repeated post; empty if a repetition cannot be recognised.

    Grafana and Alertmanager repeat unanswered posts without an id, but alerts contain their start times.
    """
    if delivery := headers.get(github.DELIVERY) or headers.get(IDEMPOTENCY_KEY):
        return delivery
    if not isinstance(content.get("alerts"), list):
        return ""
    return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def _file(file: HTTPFile) -> dict[str, Any]:
    """A layer for JSON; otherwise a picture, which a worker refuses if it is none."""
    path = PurePath(file.filename)
    if path.suffix.lower() in DOCUMENTS or "json" in file.content_type:
        document = _document(file)
        layer = {"layer_name": path.stem or "layer", "crs_wkt": WGS_84_WKT, "crs_authid": "EPSG:4326"}
        return {"type": "geojson", **layer, "geojson": document}
    return {"type": "image", "image_data": base64.b64encode(file.body).decode()}


def _document(file: HTTPFile) -> msgspec.Raw:
    """The JSON of a file, to be included in a message as it is.

    It must be one complete value, because anything after its end would become further fields of the message. For layers
    that are not in WGS 84, GDAL writes the `crs` member of GeoJSON 2008, which RFC 7946 §4 has dropped.
    """
    document = file.body.removeprefix(codecs.BOM_UTF8)
    try:
        raw = msgspec.json.decode(document, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        raise Uncompliant(NOT_A_LAYER.format(file.filename)) from None
    try:
        crs = msgspec.json.decode(document, type=_Layer).crs
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw  # errors are reported by the validation
    if crs is not None and (name := text(crs.properties, "name")) and not name.endswith(CRS_84):
        raise Uncompliant(NOT_IN_WGS_84)
    return raw
