"""A POST to a hook, as the messages that it makes: texts by the sender's kind, pictures and layers from its files."""

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
from gischat.hooks.fields import text
from gischat.hooks.plain_text import first_line, pieces
from gischat.protocol.places import WGS_84_WKT

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
MAX_PARTS = 100_000  # objects, lists and members of a body: each takes a microsecond and more, and some hundred bytes
MAX_USERNAME = 32
DOCUMENTS = (".json", ".geojson")
CRS_84 = ("CRS84", ":4326")  # what the names of WGS 84 end in


class _Crs(msgspec.Struct):
    properties: dict[str, Any] = {}


class _Layer(msgspec.Struct):
    crs: _Crs | None = None


class Body(NamedTuple):
    """What was posted: one object, and files."""

    content: dict[str, Any]
    files: list[HTTPFile]


def decode(content_type: str, body: bytes) -> Body:
    """Reads JSON, whatever its type says; a form, of files or with the JSON in its field `payload`; or plain text.

    Raises:
        Uncompliant: it is none of these.
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
    if sum(map(body.count, (b"{", b"[", b":"))) > MAX_PARTS:  # those in texts, too: nobody writes so many
        raise Uncompliant(TOO_MANY_PARTS)
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Uncompliant(NOT_JSON) from None


def text_of(headers: Mapping[str, str], content: dict[str, Any], name: str) -> str:
    """What a sender says, by its kind.

    Args:
        name: the hook's own; a sender who calls himself otherwise is named before the text.
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
    """The messages, in order: the text in pieces, then the files.

    Of a delivery's id the messages' own are made: delivered again, it is published once.

    Args:
        longest: characters of a text.
        delivery_scope: what the ids are unique in.

    Raises:
        Uncompliant: there is nothing in it to be said.
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
    """What is the same where a post comes again; empty where that cannot be told from another one of the same words.

    Grafana and Alertmanager post again what was not answered, and give it no id; alerts say when they began.
    """
    if delivery := headers.get(github.DELIVERY) or headers.get(IDEMPOTENCY_KEY):
        return delivery
    if not isinstance(content.get("alerts"), list):
        return ""
    return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def _file(file: HTTPFile) -> dict[str, Any]:
    """A layer where it is JSON; all else is a picture, or found to be none by a worker."""
    path = PurePath(file.filename)
    if path.suffix.lower() in DOCUMENTS or "json" in file.content_type:
        document = _document(file)
        layer = {"layer_name": path.stem or "layer", "crs_wkt": WGS_84_WKT, "crs_authid": "EPSG:4326"}
        return {"type": "geojson", **layer, "geojson": document}
    return {"type": "image", "image_data": base64.b64encode(file.body).decode()}


def _document(file: HTTPFile) -> msgspec.Raw:
    """A file's JSON, to stand in a message as it is.

    It is one whole value: what goes on behind its end would be read as more fields of the message.
    GDAL still writes the `crs` of GeoJSON 2008, which RFC 7946 §4 has taken out, for all that is not in WGS 84.
    """
    document = file.body.removeprefix(codecs.BOM_UTF8)
    try:
        raw = msgspec.json.decode(document, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        raise Uncompliant(NOT_A_LAYER.format(file.filename)) from None
    try:
        crs = msgspec.json.decode(document, type=_Layer).crs
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw  # what is wrong with it is said where it is checked
    if crs is not None and (name := text(crs.properties, "name")) and not name.endswith(CRS_84):
        raise Uncompliant(NOT_IN_WGS_84)
    return raw
