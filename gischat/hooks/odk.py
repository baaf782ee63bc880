"""The triggers of ODK Central, as installed by https://github.com/hotosm/central-webhook."""

import re
from typing import Any

from gischat.hooks.plain_text import joined
from gischat.shapes import pairs, text

MAX_PROPERTIES = 8
EVENTS = ("submission.", "entity.")

# The only parts of a submission's XML that are read (https://getodk.github.io/xforms-spec/#metadata)
_FORM = re.compile(r"<(?:\w+:)?\w+\s[^<>]{0,1000}?\bid=[\"']([^\"'<>]{1,200})[\"']")
_NAME = re.compile(r"<(?:\w+:)?instanceName>([^<>]{1,200})<")


def lines(content: dict[str, Any]) -> str:
    """The text for an event: the submission or entity, and its properties."""
    what, _, did = text(content, "type").partition(".")
    id = text(content, "id").removeprefix("uuid:")
    if what == "submission":
        xml = text(content, "data", "xml")
        form, name = _FORM.search(xml), _NAME.search(xml)
        of_form = f" of {form[1]}" if form else ""
        new = "New submission" if did == "create" else "Submission"
        state = text(content, "data", "reviewState")
        return f"{new}{of_form}: {name[1] if name else id}{f': {state}' if state else ''}"
    verb = {"create": "New entity", "delete": "Deleted entity"}.get(did.partition(".")[0], "Changed entity")
    return joined(
        [f"{verb}: {text(content, 'data', 'label') or id}", ", ".join(pairs(content, "data", MAX_PROPERTIES))]
    )
