"""What is sent to Slack's and Mattermost's incoming webhooks: a text, attachments, blocks.

https://api.slack.com/messaging/webhooks, https://developers.mattermost.com/integrate/webhooks/incoming/
"""

from typing import Any

from gischat.hooks.fields import objects, text
from gischat.hooks.plain_text import joined, linked, plain

MAX_ATTACHMENTS = 10
MAX_DEPTH = 8  # of the elements of a block


def lines(content: dict[str, Any]) -> str:
    """All that it says; a block's words only where there is no text, which then says the same."""
    said = plain(text(content, "text"))
    if not said:
        said = joined([line for block in objects(content, "blocks") for line in _block(block)])
    attached = [line for one in objects(content, "attachments")[:MAX_ATTACHMENTS] for line in _attachment(one)]
    return joined([said, *attached])


def _attachment(one: dict[str, Any]) -> list[str]:
    title = linked(plain(text(one, "title")), text(one, "title_link"))
    told = [plain(text(one, "pretext")), title, plain(text(one, "text"))]
    told += [
        ": ".join(filter(None, (text(field, "title"), plain(text(field, "value"))))) for field in objects(one, "fields")
    ]
    if not any(told):
        told = [plain(text(one, "fallback"))]
    return [*told, text(one, "image_url")]


def _block(node: Any, depth: int = 0) -> list[str]:
    """https://api.slack.com/reference/block-kit/blocks: words are in `text`, `fields` and `elements`, at any depth."""
    if not isinstance(node, dict) or depth > MAX_DEPTH:
        return []
    written, url = node.get("text"), text(node, "url") or text(node, "image_url")
    found = [linked(plain(text(node, "text")), url)] if not isinstance(written, dict) else _block(written, depth + 1)
    for name in ("fields", "elements"):
        inner = [line for one in objects(node, name) for line in _block(one, depth + 1)]
        # A rich text's elements make one line together.
        found += [" ".join(inner)] if text(node, "type") == "rich_text_section" else inner
    return found
