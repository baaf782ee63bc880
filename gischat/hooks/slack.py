"""The incoming webhooks of Slack and Mattermost: texts, attachments, blocks.

https://api.slack.com/messaging/webhooks, https://developers.mattermost.com/integrate/webhooks/incoming/
"""

from typing import Any

from gischat.hooks.plain_text import Reader, joined, linked
from gischat.shapes import objects, text

MAX_ATTACHMENTS = 10
MAX_DEPTH = 8  # of nested elements of a block


def lines(content: dict[str, Any]) -> str:
    """The text of a post; blocks are used only without a text, which otherwise repeats them."""
    reader = Reader()
    said = reader.plain(text(content, "text"))
    if not said:
        said = joined([line for block in objects(content, "blocks") for line in _block(block, reader)])
    attached = [line for one in objects(content, "attachments")[:MAX_ATTACHMENTS] for line in _attachment(one, reader)]
    return joined([said, *attached])


def _attachment(one: dict[str, Any], reader: Reader) -> list[str]:
    pretext, title, said = (reader.plain(text(one, name)) for name in ("pretext", "title", "text"))
    told = [pretext, linked(title, text(one, "title_link")), said]
    for field in objects(one, "fields"):
        if reader.is_over:
            break
        told.append(": ".join(filter(None, (text(field, "title"), reader.plain(text(field, "value"))))))
    if not any(told):
        told = [reader.plain(text(one, "fallback"))]
    return [*told, text(one, "image_url")]


def _block(node: Any, reader: Reader, depth: int = 0) -> list[str]:
    """https://api.slack.com/reference/block-kit/blocks: texts are in `text`, `fields` and `elements`, at any depth."""
    if not isinstance(node, dict) or depth > MAX_DEPTH or reader.is_over:
        return []
    reader.spend()
    written, url = node.get("text"), text(node, "url") or text(node, "image_url")
    if isinstance(written, dict):
        found = _block(written, reader, depth + 1)
    else:
        found = [linked(reader.plain(text(node, "text")), url)]
    for name in ("fields", "elements"):
        inner = [line for one in objects(node, name) for line in _block(one, reader, depth + 1)]
        # The elements of a rich text are one line.
        found += [" ".join(inner)] if text(node, "type") == "rich_text_section" else inner
    return found
